"""Means, confidence intervals, paired differences and their tests. The only place with an interval.

Units: accuracies are fractions. Source: Student 1908; the paired design: Lafargue et al. 2024, TMLR, section 4; many
tests: Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` episodes and the half width of its 95 % interval (infinite for a single episode)."""

    mean: float
    half_width: float
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and Student-t interval of independent values, with the sample standard deviation (ddof 1)."""
    from scipy.stats import t

    n = len(values)
    if n == 0:
        raise ValueError("no values to estimate a mean from")
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(mean, math.inf, n)
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, float(t.ppf(0.975, n - 1)) * standard_error, n)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Mean of `values` minus `baseline`, episode by episode; both must speak of the same episodes."""
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} and {len(baseline)} values cannot be paired")
    return estimate(np.subtract(values, baseline).tolist())


def half_width_of_strata(strata: Sequence[Float64[ndarray, "_"]]) -> float | None:
    """Of the mean of the means of strata, such as the images of each class: a normal approximation.

    None where a single value says nothing of the spread of its stratum.
    """
    if not all(len(values) > 1 for values in strata):
        return None
    variance = sum(values.var() / (len(values) - 1) for values in strata) / len(strata) ** 2
    return NORMAL_95 * float(np.sqrt(variance))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, each counting the same."""
    half_width = math.sqrt(sum(estimate.half_width**2 for estimate in estimates)) / len(estimates)
    mean = float(np.mean([estimate.mean for estimate in estimates]))
    return Estimate(mean, half_width, sum(estimate.n for estimate in estimates))


def paired_p_value(values: Sequence[float], baseline: Sequence[float]) -> float:
    """Two-sided, of a paired t-test that the mean difference is zero; 1 if all differences are."""
    from scipy.stats import ttest_rel

    return 1.0 if np.array_equal(values, baseline) else float(ttest_rel(values, baseline).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order given."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(p) for p in corrected]
