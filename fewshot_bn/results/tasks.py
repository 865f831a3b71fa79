"""Results of several backbones, task by task: what each mode scores on each backbone, and on each unit of the task.

Units are episodes, or the test images of a split. All modes and backbones of a task have the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from fewshot_bn.errors import ResultError, UsageError, some, unknown
from fewshot_bn.evaluation.metrics import comparable, metrics_of
from fewshot_bn.results.folders import BackboneId, Found
from fewshot_bn.results.measured import Measured, Strata, fingerprint_of, is_measured, measure, n_units
from fewshot_bn.results.result import Result
from fewshot_bn.results.selection import ByBackbone, oddities, one_each
from fewshot_bn.results.statistics import Estimate
from fewshot_bn.results.task_names import labels_of, order_of, stream_of, task_names

LEAST, FEW = 5, 10  # backbones
UNKNOWN_UNITS = "which test images are right is not kept, or is not what is measured: no intervals over test images"
Regime = Literal["few-shot", "many-shot"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which modes are compared with the reference, and by what; `proxies` of None are all that there are."""

    reference: str = "ft"
    proxies: Sequence[str] | None = None
    metric: str = "accuracy"


@dataclass(frozen=True, slots=True)
class Task:
    """What modes score on backbones, in the order of `backbones`; the first of `estimates` is of the reference.

    `values` are by mode, backbone and unit; None where results do not keep them. Units are drawn anew each among those
    of its stratum, if there are `strata`, by the random numbers that `stream` names: tasks that differ in their shots
    alone have the same queries, and one stream.
    """

    name: str
    regime: Regime
    backbones: tuple[str, ...]
    estimates: Mapping[str, tuple[Estimate, ...]]
    values: Float64[ndarray, "m b u"] | None
    stream: str = ""
    strata: Strata = ()

    @property
    def modes(self) -> tuple[str, ...]:
        return tuple(self.estimates)

    @property
    def scores(self) -> Float64[ndarray, "m b"]:
        """Means over units."""
        return np.array([[found.mean for found in of_mode] for of_mode in self.estimates.values()], dtype=np.float64)

    @property
    def units(self) -> str:
        """E.g. `200 episodes`."""
        n = next(iter(self.estimates.values()))[0].n
        return f"{n:,} {'episodes' if self.regime == 'few-shot' else 'test images'}"


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks in order; the backbones by the names that they have there; what is left out or odd."""

    tasks: Sequence[Task]
    backbones: Mapping[str, BackboneId]
    notes: Sequence[str] = ()


def tasks_of(found: Sequence[Found], asked: Asked) -> Tasks:
    """Each task, with all backbones that all its modes have been run on, and the first episodes that all have.

    Raises `UsageError` for a metric that does not exist or modes that no result is of, and `ResultError` for two
    results of one backbone, mode and task that differ, one that lacks the metric, or too few backbones in every task.
    """
    if asked.metric not in (metrics := comparable() | metrics_of("split")):
        raise unknown("metric", asked.metric, metrics)
    _check_modes(found, asked)
    label = labels_of(one.backbone for one in found)
    keys = {one.task: one.key for one in sorted(found, key=lambda one: order_of(one.key))}
    names, by_task = task_names(keys), one_each(found, label)
    candidates = [_Candidate(names[task], by_task[task], asked, label) for task in keys]
    unfit = {one.name: why for one in candidates if (why := one.unfit)}
    if len(unfit) == len(candidates):
        raise ResultError(some([f"{name}: {why}" for name, why in unfit.items()]))
    fit = [one for one in candidates if one.name not in unfit]
    tasks = [one.task() for one in fit]
    notes = [f"{name} is left out: {why}" for name, why in unfit.items()]
    notes += [note for one in fit for note in one.notes]
    notes += [f"{one.name}: {UNKNOWN_UNITS}" for one in tasks if one.values is None]
    used = {name for task in tasks for name in task.backbones}
    return Tasks(tasks, {name: backbone for backbone, name in label.items() if name in used}, notes)


def _check_modes(found: Sequence[Found], asked: Asked) -> None:
    modes = dict.fromkeys(sorted(one.mode for one in found))
    if asked.reference not in modes:
        raise unknown("reference, of which there must be results:", asked.reference, modes)
    for name in asked.proxies or ():
        if name == asked.reference:
            raise UsageError(f"--mode {name} is the reference, with which others are compared; name others")
        if name not in modes:
            raise unknown("mode, of which there must be results:", name, modes)
    if len(modes) < 2:
        raise UsageError(f"all results are of {asked.reference}, the reference; add those of modes to compare with it")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The results of a task, which may be too few."""

    name: str
    by_mode: Mapping[str, ByBackbone]
    asked: Asked
    label: Mapping[BackboneId, str]

    @property
    def modes(self) -> list[str]:
        """The reference first, then the proxies that there are."""
        asked = self.asked.proxies
        others = sorted(self.by_mode.keys() - {self.asked.reference}) if asked is None else dict.fromkeys(asked)
        return [name for name in (self.asked.reference, *others) if name in self.by_mode]

    @property
    def backbones(self) -> list[BackboneId]:
        """Those that all modes have been run on, in an order that does not depend on files."""
        return sorted(set.intersection(*(set(self.by_mode[mode]) for mode in self.modes)))

    @property
    def used(self) -> list[list[Found]]:
        """By mode and backbone."""
        return [[self.by_mode[mode][backbone] for backbone in self.backbones] for mode in self.modes]

    @property
    def lengths(self) -> list[int]:
        return [n_units(one.result) for of_mode in self.used for one in of_mode]

    @property
    def unfit(self) -> str:
        """Why nothing can be said of the task, "" if it can."""
        if self.asked.reference not in self.by_mode:
            return f"no result of {self.asked.reference}, the reference"
        if len(self.modes) < 2:
            return f"no result of {some(self.asked.proxies or ['a mode to compare'])}"
        if len(self.backbones) < LEAST:
            found = ", ".join(f"{mode} {len(self.by_mode[mode])}" for mode in self.modes)
            names = f" ({', '.join(self.label[backbone] for backbone in self.backbones)})" if self.backbones else ""
            return (
                f"{len(self.backbones)} backbones{names} have all of {', '.join(self.modes)}, at least {LEAST} are "
                f"needed; found by mode: {found}; run more backbones, or choose other modes with --mode"
            )
        if not all(is_measured(one.result, self.asked.metric) for of_mode in self.used for one in of_mode):
            return f"its results have no {self.asked.metric}; choose another --metric"
        return ""

    @property
    def notes(self) -> list[str]:
        """What else is left out of the task, or makes what is said of it doubtful."""
        return [f"{self.name}: {note}" for note in (*self._left_out(), *self._doubts())]

    def _left_out(self) -> Iterator[str]:
        missing = [mode for mode in self.asked.proxies or () if mode not in self.by_mode]
        if missing:
            yield f"no result of {', '.join(missing)}"
        for backbone in sorted({one for mode in self.modes for one in self.by_mode[mode]} - set(self.backbones)):
            lacking = [mode for mode in self.modes if backbone not in self.by_mode[mode]]
            yield f"{self.label[backbone]} is left out: no result of {', '.join(lacking)}"
        if len(set(self.lengths)) > 1:
            yield f"the first {min(self.lengths)} episodes, which all results have; the longest has {max(self.lengths)}"

    def _doubts(self) -> Iterator[str]:
        if len(self.backbones) < FEW:
            yield f"{len(self.backbones)} backbones are few; with fewer than {FEW}, intervals over backbones are rough"
        for mode in self.modes:
            results = {backbone: self.by_mode[mode][backbone] for backbone in self.backbones}
            yield from oddities(mode, results, self.by_mode[self.asked.reference], self.label)

    def task(self) -> Task:
        """Raises `ResultError` where a result is of other episodes than its key says, or lacks the metric."""
        self._check_units()
        measured = [[self._measured(one) for one in of_mode] for of_mode in self.used]
        values = [[one.values for one in of_mode] for of_mode in measured]
        is_known = all(one is not None for of_mode in values for one in of_mode)
        first = self.used[0][0]
        return Task(
            self.name,
            "few-shot" if isinstance(first.result, Result) else "many-shot",
            tuple(self.label[backbone] for backbone in self.backbones),
            {mode: tuple(one.estimate for one in of_mode) for mode, of_mode in zip(self.modes, measured, strict=True)},
            np.array(values, dtype=np.float64) if is_known else None,
            stream_of(first.key),
            measured[0][0].strata,
        )

    def _measured(self, one: Found) -> Measured:
        try:
            return measure(one.result, self.asked.metric, min(self.lengths))
        except ResultError as problem:
            why = "move it away and run its command again, or choose another --metric"
            raise ResultError(f"{one.path}: {problem}; {why}") from problem

    def _check_units(self) -> None:
        """Results of as many units must have the same ones."""
        first: dict[int, Found] = {}
        for one in (one for of_mode in self.used for one in of_mode if fingerprint_of(one.result)):
            other = first.setdefault(n_units(one.result), one)
            if fingerprint_of(other.result) != fingerprint_of(one.result):
                raise ResultError(
                    f"{one.path} and {other.path}: their keys are of the same episodes, they are not; one was edited "
                    "or damaged, move it away"
                )
