"""What one result says by a metric: its score, and the value of each unit that the score is a mean over.

A unit is what a bootstrap draws anew: an episode, or a test image of a split.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate

OF_SPLIT = {"accuracy": "top-1"}  # what a metric is called on the test images of a split


@dataclass(frozen=True, slots=True)
class Measured:
    """A score with its interval; `values` are None where the result does not keep one for each unit."""

    estimate: Estimate
    values: Float64[ndarray, "u"] | None


def n_units(result: Result | ManyShotResult) -> int:
    """How many episodes or test images it is of."""
    return len(result) if isinstance(result, Result) else len(result.predictions)


def fingerprint_of(result: Result | ManyShotResult) -> str:
    """Of the rows of its units; "" if it is not told."""
    return result.episodes if isinstance(result, Result) else str(result.key["split"]["fingerprint"])


def is_measured(result: Result | ManyShotResult, metric: str) -> bool:
    """Whether results of its kind have the metric."""
    return isinstance(result, Result) or OF_SPLIT.get(metric, metric) in result.test


def measure(result: Result | ManyShotResult, metric: str, n: int) -> Measured:
    """By the first `n` units, where it is measured. Raises `ResultError` for episodes of before there was the metric.

    A many-shot result keeps what its test images were taken for, not what they are, so it has a value of none.
    """
    if isinstance(result, Result):
        first = result[:n]
        return Measured(first.estimate(metric), np.array(first.values(metric), dtype=np.float64))
    name = OF_SPLIT.get(metric, metric)
    estimate = result.test_estimate(name) or Estimate(result.test[name], math.inf, n_units(result))
    return Measured(estimate, values=None)
