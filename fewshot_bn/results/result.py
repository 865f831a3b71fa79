"""Results: what happened in every episode, with everything needed to do it again.

A result's `key` is what decides its answer (key.py); reading.py and files.py read and write results.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.evaluation.metrics import CORRECT, METRICS, Metric, comparable_metric, metrics_of
from fewshot_bn.results.by_class import BY_CLASS
from fewshot_bn.results.key import Key
from fewshot_bn.results.statistics import Estimate, draws_of_pairs, estimate, paired_difference


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

    def lacking(self, metric: str) -> int:
        """Of how many episodes a metric is not known: those from before it was measured, if no prediction tells it."""
        return self._values(comparable_metric(metric)).count(None)

    def values(self, metric: str) -> list[float]:
        """Of each episode, by a metric that has one for it, such as "auc".

        Raises `UsageError` for another name, and `ResultError` if it is not known of some episodes.
        """
        values = self._values(comparable_metric(metric))
        if n_lacking := values.count(None):
            raise ResultError(f"{self.mode}: {n_lacking} of {len(self)} episodes are from before {metric} was measured")
        return values

    def _values(self, metric: Metric) -> list[Any]:
        if metric.kept == CORRECT:
            return self.accuracies
        missing = (None,) * len(self)
        values = self.measures.get(metric.kept, missing)
        if metric.judges == "scores" or None not in values:
            return list(values)
        predicted = self.measures.get("predicted", missing)
        judged = iter(self._judged(metric, [e for e, v in enumerate(values) if v is None and predicted[e]]))
        return [next(judged) if v is None and p else v for v, p in zip(values, predicted, strict=True)]

    def _judged(self, metric: Metric, numbers: list[int]) -> list[float]:
        """Values of episodes of before there was the metric, by their predictions."""
        counts, values = self.by_class("query"), []
        for e in numbers:
            y = torch.arange(len(counts[e])).repeat_interleave(torch.tensor(counts[e]))
            values.append(float(metric.measure(torch.tensor([self.measures["predicted"][e]]), y[None])))
        return values

    def estimate(self, metric: str) -> Estimate:
        """The mean of a metric over the episodes, each counting the same. Raises as `values` does."""
        return estimate(self.values(metric), self._n_draws(metric))

    def _n_draws(self, metric: str) -> int | float | None:
        """Of so many an episode's value is the share that came out right; None if it is no share."""
        draws = METRICS[metric].draws
        return draws_of_pairs(len(self), self.n_queries) if draws == "pairs" else self.n_queries if draws else None

    def difference_to(self, baseline: "Result", metric: str = "accuracy") -> Estimate:
        """The mean difference in a metric, episode by episode; the backbones may be others.

        Raises as `values` does, and `ValueError` where the two are not of the same episodes.
        """
        if drawn(self.key) != drawn(baseline.key) or len(self) != len(baseline):
            raise ValueError(f"results of {self.mode} and {baseline.mode} are not of the same episodes")
        return paired_difference(self.values(metric), baseline.values(metric), self._n_draws(metric))

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


def drawn(key: Key) -> dict[str, Any]:
    """What decides the episodes."""
    drawn = {part: key[part] for part in key.keys() - {"fewshot_bn", "backbone", "adapter"}}
    return drawn | {"dataset": key["dataset"]["fingerprint"]}
