"""Results: what happened in every episode, with everything needed to do it again.

A result's `key` is what decides its answer (key.py); reading.py and files.py read and write results.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fewshot_bn.episodes.episode import NO_ROW, Episodes
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.evaluation.metrics import METRICS, metrics_of
from fewshot_bn.results.key import Key
from fewshot_bn.results.statistics import Estimate, estimate, paired_difference

BY_CLASS = {"support": "n_support_by_class", "query": "n_query_by_class"}  # measures of episodes that vary


@dataclass(frozen=True, slots=True)
class Run:
    """One process that added `stop` - `start` episodes, on which software and device, in how many seconds.

    They are the episodes `start` .. `stop` - 1, but in a result that was merged from shards, whose episodes alternate.
    """

    start: int
    stop: int
    seconds: float
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """Correct queries, convergence and adaptation steps of episodes 0 .. n-1, and the fingerprint of their rows.

    `measures` are further values by name, one for each episode: see `Outcome`.
    """

    key: Key
    correct: tuple[int, ...] = ()
    converged: tuple[bool, ...] = ()
    steps: tuple[int, ...] = ()
    measures: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    episodes: str = ""
    runs: tuple[Run, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.correct)

    def __getitem__(self, part: slice) -> "Result":
        return replace(
            self,
            correct=self.correct[part],
            converged=self.converged[part],
            steps=self.steps[part],
            measures={name: values[part] for name, values in self.measures.items()},
            episodes="",
        )

    def extended(self, outcome: Outcome) -> "Result":
        """With some episodes more; the fingerprint of all is left open. A measure that some lack is None for those."""
        n, more = len(self), len(outcome.correct)
        names = dict.fromkeys([*self.measures, *outcome.measures])
        return replace(
            self,
            correct=(*self.correct, *outcome.correct),
            converged=(*self.converged, *outcome.converged),
            steps=(*self.steps, *outcome.steps),
            measures={
                name: (*self.measures.get(name, (None,) * n), *outcome.measures.get(name, (None,) * more))
                for name in names
            },
            episodes="",
        )

    @property
    def mode(self) -> str:
        """The name of the adapter."""
        return str(self.key["adapter"]["name"])

    @property
    def shape(self) -> dict[str, int]:
        """`n_way`, `n_support` and `n_query` of its episodes, on average if classes share the images unequally.

        Empty if each episode has a shape of its own.
        """
        return dict(self.key["shape"])

    @property
    def varies(self) -> bool:
        """Whether classes or episodes differ in their numbers of images, which `by_class` then tells."""
        return not self.shape or bool({"support_balance", "query_alpha"} & self.key.get("episodes", {}).keys())

    def by_class(self, role: Literal["support", "query"]) -> list[list[int]]:
        """How many images of this role each class of each episode has."""
        if self.varies:
            return [list(counts) for counts in self.measures.get(BY_CLASS[role], ())]
        return [[self.shape[f"n_{role}"]] * self.shape["n_way"]] * len(self)

    @property
    def accuracies(self) -> list[float]:
        """Fraction of correct queries of each episode."""
        return [correct / n for correct, n in zip(self.correct, self.query_counts, strict=True)]

    @property
    def query_counts(self) -> list[int]:
        """Queries of each episode."""
        if not self.varies:
            return [self.shape["n_way"] * self.shape["n_query"]] * len(self)
        return [sum(counts) for counts in self.by_class("query")]

    @property
    def n_queries(self) -> int | float:
        """Queries of an episode; if episodes differ, the harmonic mean: as many in each would say as much.

        That is what `estimate` and `paired_difference` need to know.
        """
        if self.shape:
            return self.shape["n_way"] * self.shape["n_query"]
        counts = self.query_counts
        return counts[0] if len(set(counts)) == 1 else len(counts) / math.fsum(1 / n for n in counts)

    def pooled(self, metric: str) -> float | None:
        """The number that `METRICS` makes of all episodes, of which each counts the same.

        None where some are too old to have been measured.
        """
        values = self.measures.get(METRICS[metric].kept, ())
        return METRICS[metric].pool(values, self.query_counts) if values and None not in values else None

    @property
    def accuracy(self) -> Estimate:
        """The mean accuracy of its episodes."""
        return estimate(self.accuracies, self.n_queries)

    def difference_to(self, baseline: "Result") -> Estimate:
        """The mean difference in accuracy, episode by episode; the backbones may be others.

        Raises `ValueError` where the two are not of the same episodes.
        """
        if _drawn(self.key) != _drawn(baseline.key) or len(self) != len(baseline):
            raise ValueError(f"results of {self.mode} and {baseline.mode} are not of the same episodes")
        return paired_difference(self.accuracies, baseline.accuracies, self.n_queries)

    @property
    def summary(self) -> dict[str, Any]:
        """What its episodes say together."""
        accuracy = self.accuracy
        return {
            "n_episodes": len(self),
            "accuracy": accuracy.mean,
            "ci95_half_width": accuracy.half_width if len(self) > 1 else None,
            "ci95": [accuracy.low, accuracy.high] if len(self) > 1 else None,
            "not_converged": self.converged.count(False),
            **{name: self.pooled(name) for name in metrics_of("episodes")},
        }

    @property
    def seconds_per_episode(self) -> float:
        return sum(run.seconds for run in self.runs) / max(1, sum(run.stop - run.start for run in self.runs))


def with_sizes(outcome: Outcome, episodes: Episodes) -> Outcome:
    """The outcome of these episodes, with their numbers of images by class: needed in results of those that vary."""
    real = episodes.classes != NO_ROW
    kept = {
        BY_CLASS[role]: tuple(row[there].tolist() for row, there in zip(counts, real, strict=True))
        for role, counts in (("support", episodes.n_support), ("query", episodes.n_query))
    }
    return replace(outcome, measures={**outcome.measures, **kept})


def _drawn(key: Key) -> dict[str, Any]:
    """What decides the episodes."""
    drawn = {part: key[part] for part in key.keys() - {"fewshot_bn", "backbone", "adapter"}}
    return drawn | {"dataset": key["dataset"]["fingerprint"]}


@dataclass(frozen=True, slots=True)
class ManyShotResult:
    """The chosen C, how every C scored on the validation images, and the score and the predictions of the test images.

    `path` holds the value of C, its validation scores by metric, and whether its fit reached the tolerance.
    `predictions` follow the rows of the test images in ascending order. Half widths and `test_intervals` are those of
    the metrics that have one; the latter are None in older files.
    """

    key: Key
    metric: str
    path: list[dict[str, Any]]
    C: float
    converged: bool
    test: dict[str, float]
    test_half_widths: dict[str, float]
    predictions: list[int]
    run: dict[str, Any]
    test_intervals: dict[str, list[float]] | None = None

    def test_estimate(self, metric: str) -> Estimate | None:
        """The score of the test images with its interval; None if the metric has no interval."""
        mean, half_width = self.test[metric], self.test_half_widths.get(metric)
        if half_width is None:
            return None
        low, high = (self.test_intervals or {}).get(metric, (mean - half_width, mean + half_width))
        sides = None if mean - low == high - mean else (mean - low, high - mean)
        return Estimate(mean, half_width, len(self.predictions), sides)
