"""How well proxies rank backbones as a reference does, with bootstrap intervals.

The backbones of a task are one sample of those that could have been compared, its episodes (or test images) one sample
of those that could have been drawn. Three bootstraps tell what that means for a number: backbones drawn anew, with the
units that there are; units drawn anew, the same ones for all modes and backbones, which are thereby paired; and both.
A backbone that is drawn twice is tied with itself in every mode, so that pair counts for nothing. An interval is from
the 2.5th to the 97.5th percentile of the samples that define the number, and unknown if most of them do not.

Over several tasks with the same backbones there are means: of each number, and the numbers of the mean scores. Samples
have the same backbones in all tasks. Units are drawn for each task by itself, but alike where shots alone differ.

Source: Efron 1979, "Bootstrap methods: another look at the jackknife", and 1981, "Nonparametric standard errors and
confidence intervals" (percentiles); of both at once: Owen 2007, "The pigeonhole bootstrap", arXiv:0712.1111.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from fewshot_bn.errors import some
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.results.agreement import TAU, agreement
from fewshot_bn.results.resampling import (
    OBSERVED,
    OVER_BACKBONES,
    OVER_BOTH,
    OVER_UNITS,
    Bootstrap,
    Samples,
    mean_samples,
    samples_of,
)
from fewshot_bn.results.shared_tasks import shared_modes, shared_tasks
from fewshot_bn.results.statistics import ROUNDING, Estimate, average
from fewshot_bn.results.tasks import Regime, Task

ENDS = (0.025, 0.975)
Draws = Mapping[str, Float64[ndarray, "_"]]  # a number in every sample, by kind of samples
Numbers = Mapping[str, Mapping[str, Draws]]  # by mode and name
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Number:
    """What is observed, None if it is undefined, and its 95 % intervals, None where they are unknown."""

    value: float | None
    over_backbones: Interval | None
    over_units: Interval | None
    over_both: Interval | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the proxies rank backbones: numbers by mode and name; and their tau less that of the baseline, by mode.

    `estimates` are the scores by mode, the reference first, in the order of `backbones`. Both are empty for the mean of
    numbers over tasks. `units` says what was averaged.
    """

    name: str
    regime: Regime
    units: str
    backbones: tuple[str, ...]
    estimates: Mapping[str, tuple[Estimate, ...]]
    proxies: Mapping[str, Mapping[str, Number]]
    differences: Mapping[str, Number]


def rank(tasks: Sequence[Task], metric: str, baseline: str | None, bootstrap: Bootstrap) -> list[Ranking]:
    """Of each task, scored by `metric`; then means over the tasks of a regime, if several have all its backbones.

    Differences are to `baseline`, in tasks that have it.
    """
    sign = -1.0 if METRICS[metric].lower_is_better else 1.0
    samples = {task.name: samples_of(task, bootstrap) for task in tasks}
    rankings = []
    for task in tasks:
        said = _said(_numbers(samples[task.name], task.modes, sign), baseline)
        rankings.append(Ranking(task.name, task.regime, task.units, task.backbones, task.estimates, *said))
    for shared in shared_tasks(tasks):
        rankings += _means(shared, [samples[task.name] for task in shared], baseline, sign)
    return rankings


def _means(shared: Sequence[Task], samples: Sequence[Samples], baseline: str | None, sign: float) -> Iterator[Ranking]:
    """Over tasks with the same backbones: of the numbers of each task, and the numbers of mean scores."""
    modes = shared_modes(shared)
    if len(modes) < 2:
        return
    regime, backbones = shared[0].regime, shared[0].backbones
    n = f"{len(shared)} {regime} tasks"
    numbers = _mean_numbers([_numbers(of_task, modes, sign) for of_task in samples])
    yield Ranking(f"mean over {n}", regime, n, backbones, {}, *_said(numbers, baseline))
    scores = mean_samples(samples, modes)
    estimates = {mode: _mean_estimates([task.estimates[mode] for task in shared], mode, scores) for mode in modes}
    said = _said(_numbers(scores, modes, sign), baseline)
    yield Ranking(f"mean scores of {n}", regime, n, backbones, estimates, *said)


def _mean_estimates(of_tasks: Sequence[Sequence[Estimate]], mode: str, samples: Samples) -> tuple[Estimate, ...]:
    """Mean scores of backbones, with intervals over units where these are known, which tasks may have in common."""
    found = [average(estimates) for estimates in zip(*of_tasks, strict=True)]
    if OVER_UNITS not in samples:
        return tuple(found)
    means = np.array([one.mean for one in found])
    ends = np.quantile(samples[OVER_UNITS].scores[mode], ENDS, axis=0)
    low, high = (means - ends[0]).clip(min=0).tolist(), (ends[1] - means).clip(min=0).tolist()
    sides = zip(found, low, high, strict=True)
    return tuple(Estimate(one.mean, max(below, above), one.n, (below, above)) for one, below, above in sides)


def _numbers(samples: Samples, modes: Sequence[str], sign: float) -> Numbers:
    """Of each mode but the first, the reference."""
    reference, *proxies = modes
    found: dict[str, dict[str, dict[str, Float64[ndarray, "_"]]]] = {}
    for mode in proxies:
        found[mode] = {}
        for kind, sample in samples.items():
            scores = sign * sample.scores[mode], sign * sample.scores[reference]
            for name, draws in agreement(*scores, sample.times).items():
                found[mode].setdefault(name, {})[kind] = draws
    return found


def _mean_numbers(of_tasks: Sequence[Numbers]) -> Numbers:
    """By the kinds of samples that all tasks have; NaN where a task does not define the number."""
    return {
        mode: {name: _combined([numbers[mode][name] for numbers in of_tasks]) for name in names}
        for mode, names in of_tasks[0].items()
    }


def _combined(of_tasks: Sequence[Draws]) -> Draws:
    kinds = [kind for kind in of_tasks[0] if all(kind in draws for draws in of_tasks)]
    return {kind: np.mean([draws[kind] for draws in of_tasks], axis=0) for kind in kinds}


def _said(numbers: Numbers, baseline: str | None) -> tuple[Mapping[str, Mapping[str, Number]], Mapping[str, Number]]:
    proxies = {mode: {name: _number(draws) for name, draws in names.items()} for mode, names in numbers.items()}
    others = [mode for mode in numbers if mode != baseline] if baseline in numbers else []
    base = numbers[str(baseline)][TAU] if others else {}
    return proxies, {mode: _number({kind: numbers[mode][TAU][kind] - base[kind] for kind in base}) for mode in others}


def _number(draws: Draws) -> Number:
    (value,) = draws[OBSERVED]
    ends = (_interval(draws[kind]) if kind in draws else None for kind in (OVER_BACKBONES, OVER_UNITS, OVER_BOTH))
    return Number(None if np.isnan(value) else float(value), *ends)


def _interval(draws: Float64[ndarray, "r"]) -> Interval | None:
    defined = draws[~np.isnan(draws)]
    if len(defined) <= len(draws) / 2:
        return None
    low, high = np.quantile(defined, ENDS)
    return float(low), float(high)


def doubts(rankings: Sequence[Ranking]) -> Iterator[str]:
    """Where an interval has no width since all backbones that there are agree, which tells nothing of another one."""
    for ranking in rankings:
        ends = {mode: numbers[TAU].over_backbones for mode, numbers in ranking.proxies.items()}
        certain = [mode for mode, found in ends.items() if found is not None and found[1] - found[0] <= ROUNDING]
        if certain:
            yield (
                f"{ranking.name}: in every sample of backbones {some(certain)} ranks them alike, so its intervals over "
                "backbones have no width; more backbones may show a difference"
            )
