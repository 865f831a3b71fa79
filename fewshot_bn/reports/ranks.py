"""How proxies rank backbones: as text, and as plain values for a program."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.reports import columns
from fewshot_bn.reports.text import headline
from fewshot_bn.results.agreement import REGRET, RHO, TAU, R, ranks_of
from fewshot_bn.results.folders import BackboneId
from fewshot_bn.results.ranks import Interval, Number, Ranking
from fewshot_bn.results.resampling import Bootstrap
from fewshot_bn.results.statistics import Estimate

TITLES = {TAU: "Kendall's tau-b", RHO: "Spearman's rho", R: "Pearson's r", REGRET: "top-1 regret"}
OVER = {"few-shot": "over episodes", "many-shot": "over test images"}
UNDEFINED, UNKNOWN = "undefined", "-"


@dataclass(frozen=True, slots=True)
class RankReport:
    """All that is said: the rankings, what they were made by, and notes on what is left out or odd."""

    rankings: Sequence[Ranking]
    metric: str
    reference: str
    baseline: str | None
    bootstrap: Bootstrap
    backbones: Mapping[str, BackboneId]
    notes: Sequence[str] = ()


def rank_text(report: RankReport) -> str:
    """For each task the scores with their places, and what the places by the proxies are worth; then the notes."""
    blocks = ["\n\n".join(_blocks(ranking, report)) for ranking in report.rankings]
    notes = "\n".join(f"note: {note}" for note in report.notes)
    return "\n\n".join([*blocks, *([notes] if notes else [])])


def _blocks(ranking: Ranking, report: RankReport) -> Iterator[str]:
    what = f"{METRICS[report.metric].title} of {len(ranking.backbones)} backbones over {ranking.units}"
    yield f"{ranking.name}: {what}, reference {report.reference}"
    if ranking.estimates:
        yield _table(["backbone", *(f"{mode} (place)" for mode in ranking.estimates)], _scores(ranking, report))
    header = ["proxy", "", "value", "95 % over backbones", OVER[ranking.regime], "over both"]
    yield _table(header, _numbers(ranking, report))


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    first, *lines = columns([header, *rows]).splitlines()
    return "\n".join([first, "-" * max(map(len, [first, *lines])), *lines])


def _scores(ranking: Ranking, report: RankReport) -> Iterator[list[str]]:
    """A row for each backbone, those that the reference has first come first."""
    sign = -1 if METRICS[report.metric].lower_is_better else 1
    places = [ranks_of(sign * np.array([one.mean for one in row])) for row in ranking.estimates.values()]
    for b in np.argsort(places[0], kind="stable").tolist():
        scores = zip(ranking.estimates.values(), places, strict=True)
        yield [ranking.backbones[b], *(f"{headline(row[b], report.metric)} ({place[b]:g})" for row, place in scores)]


def _numbers(ranking: Ranking, report: RankReport) -> Iterator[list[str]]:
    is_share = METRICS[report.metric].draws is not None
    for mode, numbers in ranking.proxies.items():
        for place, (name, number) in enumerate(numbers.items()):
            points = is_share and name == REGRET
            title = f"{TITLES[name]}{', points' if points else ''}"
            yield ["" if place else mode, title, *_cells(number, ".2f" if points else ".3f", 100 if points else 1)]
        if mode in ranking.differences:
            yield ["", f"tau-b less that of {report.baseline}", *_cells(ranking.differences[mode], "+.3f")]


def _cells(number: Number, form: str, factor: int = 1) -> list[str]:
    intervals = (number.over_backbones, number.over_units, number.over_both)
    value = UNDEFINED if number.value is None else f"{_number(factor * number.value):{form}}"
    return [value, *(_interval(ends, form, factor) for ends in intervals)]


def _interval(ends: Interval | None, form: str, factor: int) -> str:
    return UNKNOWN if ends is None else "[{}, {}]".format(*(f"{_number(factor * end):{form}}" for end in ends))


def _number(value: float) -> float:
    """Not -0.000, which rounding would make of a small negative one."""
    return value if abs(value) >= 0.0005 else 0.0


def rank_values(report: RankReport) -> dict[str, Any]:
    """All numbers, as JSON has them: null is undefined, or an interval that is unknown. Shares are fractions."""
    return {
        "metric": report.metric,
        "reference": report.reference,
        "baseline": report.baseline,
        "bootstrap": asdict(report.bootstrap),
        "backbones": {name: backbone._asdict() for name, backbone in report.backbones.items()},
        "rankings": [_ranking(ranking) for ranking in report.rankings],
        "notes": list(report.notes),
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    scores = {
        mode: dict(zip(ranking.backbones, map(_estimate, row), strict=True)) for mode, row in ranking.estimates.items()
    }
    return {
        "name": ranking.name,
        "regime": ranking.regime,
        "units": ranking.units,
        "backbones": list(ranking.backbones),
        "scores": scores,
        "proxies": {mode: {name: asdict(n) for name, n in row.items()} for mode, row in ranking.proxies.items()},
        "tau_less_that_of_baseline": {mode: asdict(number) for mode, number in ranking.differences.items()},
    }


def _estimate(found: Estimate) -> dict[str, float | None]:
    known = math.isfinite(found.half_width)
    return {"mean": found.mean, "low": found.low if known else None, "high": found.high if known else None}
