"""Results as aligned text. Accuracies are fractions everywhere else; here they become percent."""

import math
from collections.abc import Sequence

from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.reports import columns
from fewshot_bn.reports.rows import Row, always, rows_of
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate


def few_shot_table(results: Sequence[Result], baseline: str | None, metrics: Sequence[str] = ("accuracy",)) -> str:
    """One line per result: the mean of each of `metrics` over the episodes, which weigh equally, and the difference.

    That is to the baseline's result of the same shape, over the same episodes. Columns of which nothing is known are
    left out. Below, how episodes vary that are not all of one shape. Raises `UsageError` for an unknown metric, and
    `ResultError` where a result lacks one.
    """
    metrics = tuple(dict.fromkeys(metrics))
    difference = f"difference to {baseline or 'baseline'} ± CI"
    compared = [title for name in metrics for title in (f"{METRICS[name].title} ± 95 % CI", difference)]
    titles = [METRICS[name].title for name in always(metrics)]
    header = ["mode", "shots", *compared, *titles, "s/episode", ""]
    rows = rows_of(results, baseline, metrics)
    cells = [_cells(row) for row in rows]
    notes = dict.fromkeys(row.episodes for row in rows if row.episodes)
    return "\n".join([table(header, cells), *notes])


def table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lines of cells under their titles, without the columns that say nothing."""
    kept = [place for place, column in enumerate(zip(*cells, strict=True)) if any(column)]
    first, *lines = columns([[row[place] for place in kept] for row in [header, *cells]]).splitlines()
    return "\n".join([first, "-" * max(map(len, [first, *lines])), *lines])


def percent(value: Estimate, *, signed: bool = False) -> str:
    """E.g. `81.23 ± 0.74`, with both ends where its sides differ: `99.73 ± 1.74 [97.99, 99.97]`."""
    return _interval(value, factor=100, form="+.2f" if signed else ".2f")


def headline(value: Estimate, metric: str, *, signed: bool = False) -> str:
    """A share in percent, another metric as it is: `0.247 ± 0.012`."""
    if METRICS[metric].draws:
        return percent(value, signed=signed)
    return _interval(value, factor=1, form="+.3f" if signed else ".3f")


def headlines(result: Result, metrics: Sequence[str]) -> str:
    """What a result says by `metrics`, with their names unless it is accuracy alone."""
    values = {name: headline(result.estimate(name), name) for name in metrics}
    if values.keys() == {"accuracy"}:
        return values["accuracy"]
    return ", ".join(f"{METRICS[name].title} {value}" for name, value in values.items())


def _interval(value: Estimate, *, factor: int, form: str) -> str:
    half_width = "?" if math.isinf(value.half_width) else f"{factor * value.half_width:{form.lstrip('+')}}"
    ends = f" [{factor * value.low:{form}}, {factor * value.high:{form}}]" if value.is_lopsided else ""
    return f"{factor * value.mean:{form}} ± {half_width}{ends}"


def _cells(row: Row) -> list[str]:
    beside = "(baseline)" if row.is_baseline else ""
    differences = {name: headline(value, name, signed=True) for name, value in row.differences.items()}
    remarks = [
        "transductive" if row.transductive else "",
        f"{row.n_not_converged} of {row.n_episodes} episodes did not converge" if row.n_not_converged else "",
    ]
    return [
        row.mode,
        "varied" if row.n_support is None else str(row.n_support),
        *(
            cell
            for name, value in row.estimates.items()
            for cell in (headline(value, name), differences.get(name, beside))
        ),
        *("" if value is None else METRICS[name].show(value) for name, value in row.metrics.items()),
        f"{row.seconds_per_episode:.2g}",
        "; ".join(filter(None, remarks)),
    ]
