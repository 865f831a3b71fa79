"""Means, confidence intervals, paired differences and their tests. The only place with an interval.

The interval of an accuracy is Student's, mean ± t s / sqrt(n), wherever that is sound. It is not where episodes are few
or nearly all queries are right: it passes 100 %, or has no width if all episodes are alike. There it is a score
interval: all p for which |mean - p| <= t s / sqrt(n) sqrt(p (1 - p) / (mean (1 - mean))). Its spread shrinks towards 0
and 1 as that of a proportion does, so it stays within them; and it is never narrower than if every query had been
drawn by itself, so it has a width even if all episodes are alike.

Other shares, such as areas under ROC curves, have the same intervals. Episodes weigh equally, whatever their queries.

Units: accuracies are fractions. Source: Student 1908; Wilson 1927, "Probable inference", with the effective sample size
of clustered data as in Korn and Graubard 1998 and Dean and Pagano 2015, "Evaluating confidence interval methods for
binomial proportions in clustered surveys"; the paired design: Lafargue et al. 2024, TMLR, section 4; many tests: Holm
1979, "A simple sequentially rejective multiple test procedure".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

NORMAL_95 = 1.96
ROUNDING = 1e-12  # values that differ by less are the same
FEW = 30  # episodes
ALIKE = 0.1  # a side of a score interval that differs less from Student's is Student's


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` episodes and its 95 % interval, which is mean ± `half_width`, or `sides` where those differ.

    Then `half_width` is the longer of them. It is infinite where nothing is known of the spread: of a single episode.
    """

    mean: float
    half_width: float
    n: int
    sides: tuple[float, float] | None = None

    @property
    def is_lopsided(self) -> bool:
        """Whether one side is so much shorter that ± says too little."""
        return self.sides is not None and min(self.sides) < (1 - ALIKE) * max(self.sides)

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - (self.sides[0] if self.sides else self.half_width)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + (self.sides[1] if self.sides else self.half_width)


def estimate(values: Sequence[float], n_queries: int | float | None = None) -> Estimate:
    """Mean of independent values and its interval, with the sample standard deviation (ddof 1).

    With `n_queries`, the values are the accuracies of episodes of so many queries each, as fractions, or shares of so
    many draws; where episodes differ in that, of their harmonic mean. Without, they are any numbers and the interval is
    Student's; values that are all the same say nothing of their spread.

    Raises `ValueError` if there are no values, or accuracies that are not from 0 to 1.
    """
    found = student(values)
    if n_queries is None:
        return Estimate(found.mean, found.half_width or math.inf, found.n)
    if not 0 <= min(values) <= max(values) <= 1:
        raise ValueError(f"accuracies are fractions from 0 to 1, not {min(values):g} to {max(values):g}")
    return _of_share(found, n_most=found.n * n_queries)


def student(values: Sequence[float]) -> Estimate:
    """Mean and Student's interval of any independent numbers."""
    from scipy.stats import t

    n = len(values)
    if n == 0:
        raise ValueError("no values to estimate a mean from")
    if not np.isfinite(values).all():
        raise ValueError("the values are not all finite")
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(mean, math.inf, n)
    deviation = float(np.std(values, ddof=1)) if np.ptp(values) > ROUNDING else 0.0
    return Estimate(mean, float(t.ppf(0.975, n - 1)) * (deviation / math.sqrt(n)), n)


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], n_queries: int | float | None = None
) -> Estimate:
    """Mean of `values` minus `baseline`, episode by episode; both must speak of the same episodes.

    With `n_queries`, both are accuracies of episodes of so many queries each: the interval ends at -1 and 1, and is
    never narrower than that of the share of all queries by which the two differ, were each drawn by itself.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} and {len(baseline)} values cannot be paired")
    differences = np.subtract(values, baseline).tolist()
    if n_queries is None:
        return estimate(differences)
    found = student(differences)
    return found if found.n == 1 else _of_difference(found, found.n * n_queries)


def draws_of_pairs(n_episodes: int, n_queries: int | float) -> int | float:
    """Of how many draws the area under the ROC curve of an episode is the share, for its interval.

    It varies at least as much as if every pair of queries had been drawn by itself (Hanley and McNeil 1982, eq. 1). Few
    episodes do not show how much more, so there it is taken to vary no less than an accuracy.
    """
    return n_queries if n_episodes < FEW else n_queries**2


def estimate_of_strata(strata: Sequence[Float64[ndarray, "_"]]) -> Estimate | None:
    """The mean of the shares of strata, such as those of the images of each class that are right; `n` is of all values.

    None where a single value says nothing of the spread of its stratum.
    """
    found = _mean_of_strata(strata)
    return None if found is None else _of_share(*found)


def difference_of_strata(
    strata: Sequence[Float64[ndarray, "_"]], baseline: Sequence[Float64[ndarray, "_"]]
) -> Estimate | None:
    """The mean over strata of the differences of shares, value by value; both must be of the same images.

    None where a single value says nothing of the spread of its stratum.
    """
    found = _mean_of_strata([values - other for values, other in zip(strata, baseline, strict=True)])
    return None if found is None else _of_difference(*found)


def _mean_of_strata(strata: Sequence[Float64[ndarray, "_"]]) -> tuple[Estimate, float] | None:
    """The mean of their means with a symmetric interval, and how many values in a single stratum would say as much."""
    if not all(len(values) > 1 for values in strata):
        return None
    mean = float(np.mean([values.mean() for values in strata]))
    variance = sum(values.var() / (len(values) - 1) for values in strata) / len(strata) ** 2
    n_most = len(strata) ** 2 / sum(1 / len(values) for values in strata)
    return Estimate(mean, NORMAL_95 * float(np.sqrt(variance)), sum(map(len, strata))), n_most


def score_interval(mean: float, half_width: float, n_most: int | float) -> tuple[float, float]:
    """All p with (mean - p)² <= c p (1 - p), where c is such that p = mean is allowed to be `half_width` off.

    Of `n_most` values or fewer, so at least as far off as the mean of these.
    """
    spread = mean * (1 - mean)
    c = max(half_width**2 / spread if spread > 0 else 0, NORMAL_95**2 / n_most)
    middle, half = (mean + c / 2) / (1 + c), math.sqrt(c * spread + c**2 / 4) / (1 + c)
    return max(0.0, min(mean, middle - half)), min(1.0, max(mean, middle + half))


def _of_share(symmetric: Estimate, n_most: int | float) -> Estimate:
    """The estimate of a share that is a mean of at most `n_most` draws: as it is, or with a score interval."""
    if math.isinf(symmetric.half_width):
        return symmetric
    low, high = score_interval(symmetric.mean, symmetric.half_width, n_most)
    sides = symmetric.mean - low, high - symmetric.mean
    if all(math.isclose(side, symmetric.half_width, rel_tol=ALIKE) for side in sides):
        return symmetric
    return Estimate(symmetric.mean, max(sides), symmetric.n, sides)


def _of_difference(symmetric: Estimate, n_most: int | float) -> Estimate:
    """The estimate of a difference of shares that are means of at most `n_most` draws; it ends at -1 and 1."""
    share = min(1.0, abs(symmetric.mean))
    half_width = max(symmetric.half_width, score_interval(share, 0.0, n_most=n_most)[1] - share)
    sides = min(half_width, 1 + symmetric.mean), min(half_width, 1 - symmetric.mean)
    return Estimate(symmetric.mean, half_width, symmetric.n, None if sides == (half_width, half_width) else sides)


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
