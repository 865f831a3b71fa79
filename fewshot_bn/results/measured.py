"""What one result says by a metric: its score, and the value of each unit that the score is a mean over.

A unit is what a bootstrap draws anew: an episode, or a test image of a split.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from fewshot_bn.evaluation.metrics import METRICS, comparable
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate

OF_SPLIT = {"accuracy": "top-1"}  # what a metric is called on the test images of a split
Strata = Sequence[Int64[ndarray, "_"]]  # the places of units among which each is drawn


@dataclass(frozen=True, slots=True)
class Measured:
    """A score with its interval, the values of which it is the mean, and among which units each is drawn.

    `values` are None where the result does not keep them, or the metric is no mean over units.
    """

    estimate: Estimate
    values: Float64[ndarray, "u"] | None
    strata: Strata = ()


def n_units(result: Result | ManyShotResult) -> int:
    """How many episodes or test images it is of."""
    return len(result) if isinstance(result, Result) else len(result.predictions)


def fingerprint_of(result: Result | ManyShotResult) -> str:
    """Of the rows of its units; "" if it is not told."""
    return result.episodes if isinstance(result, Result) else str(result.key["split"]["fingerprint"])


def is_measured(result: Result | ManyShotResult, metric: str) -> bool:
    """Whether results of its kind have the metric."""
    return metric in comparable() if isinstance(result, Result) else OF_SPLIT.get(metric, metric) in result.test


def measure(result: Result | ManyShotResult, metric: str, n: int) -> Measured:
    """By the first `n` units, if it is measured. Raises `ResultError` for episodes of before there was the metric."""
    if isinstance(result, ManyShotResult):
        return _of_split(result, OF_SPLIT.get(metric, metric))
    first = result[:n]
    return Measured(first.estimate(metric), np.array(first.values(metric), dtype=np.float64), [np.arange(n)])


def _of_split(result: ManyShotResult, metric: str) -> Measured:
    """Of the test images, which are drawn among those of their stratum: of their class, for a mean over classes.

    The score is the mean over the strata of the share that is right in each, so an image counts as much as its stratum
    is small. Results of before labels were kept have no values.
    """
    estimate = result.test_estimate(metric) or Estimate(result.test[metric], math.inf, n_units(result))
    strata_of = METRICS[metric].strata
    if strata_of is None or result.labels is None:
        return Measured(estimate, values=None)
    labels = np.array(result.labels)
    strata = [places.astype(np.int64) for places in strata_of(np.arange(len(labels), dtype=np.float64), labels)]
    values = (np.array(result.predictions) == labels).astype(np.float64)
    for places in strata:
        values[places] *= len(labels) / (len(strata) * len(places))
    return Measured(estimate, values, strata)
