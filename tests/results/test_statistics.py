import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, bootstrap, t, ttest_1samp, ttest_rel

from fewshot_bn.results.statistics import (
    average,
    draws_of_pairs,
    estimate,
    estimate_of_strata,
    holm,
    paired_difference,
    paired_p_value,
    student,
)


def test_the_interval_is_students(rng):
    values = rng.random(12)
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    found = estimate(values.tolist())
    assert (found.mean, found.n) == (pytest.approx(values.mean()), 12)
    assert (found.mean - found.half_width, found.mean + found.half_width) == (pytest.approx(low), pytest.approx(high))


def test_the_paired_difference_is_the_interval_of_a_paired_t_test(rng):
    a, b = rng.random((2, 40))
    low, high = ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(a.tolist(), b.tolist())
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_the_mean_of_estimates_and_the_spread_of_that_mean(rng):
    draws = rng.normal([0.2, 0.5, 0.8], [0.1, 0.2, 0.3], (20_000, 25, 3))
    found = average([student(column.tolist()) for column in draws[0].T])
    assert (found.mean, found.n) == (pytest.approx(draws[0].mean()), 75)
    errors = draws.mean((1, 2)) - 0.5
    widths = [average([student(column.tolist()) for column in draw.T]).half_width for draw in draws[:200]]
    assert np.mean(widths) == pytest.approx(2.064 * errors.std(), rel=0.05)  # Student's 97.5 % of 24 degrees of freedom


def test_the_p_value_is_that_of_a_paired_t_test(rng):
    a, b = rng.random((2, 40))
    assert paired_p_value(a.tolist(), b.tolist()) == pytest.approx(ttest_1samp(a - b, 0).pvalue)
    assert paired_p_value([0.5, 0.25], [0.5, 0.25]) == 1


def test_holm_corrects_for_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]


def test_the_interval_agrees_with_the_bootstrap(rng):
    values = rng.random(400)
    resampled = bootstrap((values,), np.mean, random_state=0).confidence_interval
    assert estimate(values.tolist()).half_width == pytest.approx((resampled.high - resampled.low) / 2, rel=0.05)


def test_a_single_episode_has_a_mean_but_no_interval():
    assert estimate([0.25]).mean == 0.25
    assert math.isinf(estimate([0.25]).half_width)


def test_nothing_to_estimate_and_nothing_to_pair():
    with pytest.raises(ValueError, match="no values"):
        estimate([])
    with pytest.raises(ValueError, match="not all finite"):
        estimate([0.5, math.nan])
    with pytest.raises(ValueError, match="2 and 3 values cannot be paired"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def ends(found):
    return found.low, found.high


def test_of_many_episodes_it_is_students_interval_also_if_they_are_known_to_be_accuracies(rng):
    accuracies = (rng.binomial(75, rng.beta(16, 4, 600)) / 75).tolist()
    assert estimate(accuracies, 75) == student(accuracies)
    assert ends(estimate(accuracies, 75)) == ends(student(accuracies))


@pytest.mark.parametrize("accuracies", [[0.96, 1.0, 1.0], [0.5, 0.75], [0.02, 0.0, 0.0, 0.04]])
def test_a_score_interval_ends_where_the_mean_is_as_far_off_as_students_t(accuracies):
    mean, n = np.mean(accuracies), len(accuracies)
    error, quantile = np.std(accuracies, ddof=1) / math.sqrt(n), t.ppf(0.975, n - 1)

    def distance(p):  # less the t of a mean whose error is that of the shares p
        return abs(mean - p) - quantile * error * math.sqrt(p * (1 - p) / (mean * (1 - mean)))

    found = estimate(accuracies, 10_000)
    assert found.low == pytest.approx(brentq(distance, 0, mean))
    assert found.high == pytest.approx(brentq(distance, mean, 1))
    assert found.half_width == pytest.approx(max(mean - found.low, found.high - mean))
    assert found.is_lopsided


@pytest.mark.parametrize(("n", "n_queries"), [(2, 75), (5, 25), (600, 75)])
def test_episodes_that_are_all_alike_have_the_interval_of_all_their_queries(n, n_queries):
    """Wilson's; that of proportions without errors is z² / (n + z²)."""
    found, z2 = estimate([1.0] * n, n_queries), 1.96**2
    assert ends(found) == (pytest.approx(1 - z2 / (n * n_queries + z2)), 1)
    assert ends(estimate([0.0] * n, n_queries)) == (0, pytest.approx(z2 / (n * n_queries + z2)))
    half = estimate([0.52] * n, n_queries)
    assert half.half_width == pytest.approx(1.96 * math.sqrt(0.52 * 0.48 / (n * n_queries)), rel=0.05)
    assert not half.is_lopsided


def test_values_that_are_all_alike_say_nothing_of_their_spread():
    assert math.isinf(estimate([0.5, 0.5]).half_width)
    assert math.isinf(paired_difference([0.9, 0.4], [0.8, 0.3]).half_width)  # 0.1 but for rounding
    assert student([0.1] * 3).half_width == 0


def coverage(rng, mean, share, n, n_draws=400, n_queries=75):
    """How many intervals hold the mean of accuracies, `share` of whose variance is between episodes."""
    p = rng.beta(mean * (1 / share - 1), (1 - mean) * (1 / share - 1), (n_draws, n)) if share else mean
    draws = rng.binomial(n_queries, p, (n_draws, n)) / n_queries
    found = [estimate(draw.tolist(), n_queries) for draw in draws]
    assert all(0 <= one.low <= one.mean <= one.high <= 1 for one in found)
    return np.mean([one.low <= mean <= one.high for one in found])


@pytest.mark.full
@pytest.mark.parametrize("n", [2, 3, 5, 10, 100])
@pytest.mark.parametrize(
    ("mean", "share"), [(0.5, 0.02), (0.8, 0.04), (0.95, 0.02), (0.99, 0), (0.99, 0.01), (0.998, 0)]
)
def test_intervals_hold_the_mean_as_often_as_they_say_also_near_1_and_with_few_episodes(rng, mean, share, n):
    assert coverage(rng, mean, share, n) > 0.91  # 0.95 less four standard deviations of 400 draws


def test_a_few_episodes_near_1_have_intervals_that_hold(rng):
    assert coverage(rng, 0.99, 0.01, 3, n_draws=200) > 0.9
    students = [student((draw / 75).tolist()) for draw in rng.binomial(75, 0.99, (200, 3))]
    assert np.mean([one.low <= 0.99 <= one.high for one in students]) < 0.9  # what it is for


def test_differences_of_accuracies_that_are_all_alike_have_a_width_and_end_at_1():
    same = paired_difference([0.8] * 600, [0.8] * 600, 75)
    assert (same.mean, same.half_width) == (0, pytest.approx(1.96**2 / (600 * 75 + 1.96**2)))
    better = paired_difference([0.9] * 2, [0.8] * 2, 75)
    wilson = binomtest(15, 150).proportion_ci(method="wilson")
    assert better.half_width == pytest.approx(wilson.high - 0.1, rel=1e-3)
    far = paired_difference([1.0, 0.8], [0.0, 0.2], 75)
    assert ends(far) == (-1, 1)
    assert math.isinf(paired_difference([0.5], [0.4], 75).half_width)


def test_differences_of_many_episodes_are_students(rng):
    a, b = rng.binomial(75, 0.8, (2, 100)) / 75
    assert paired_difference(a.tolist(), b.tolist(), 75) == student((a - b).tolist())


def areas(rng, spread, n, n_way=5, n_query=15):
    """Areas under ROC curves of episodes that are more or less hard, averaged over classes."""
    y, pairs = np.arange(n_way).repeat(n_query), n_query**2 * (n_way - 1)
    scores = rng.standard_normal((n, n_way, n_way * n_query))
    scores += 2.5 * np.exp(spread * rng.standard_normal((n, 1, 1))) * (y == np.arange(n_way)[:, None])
    places = (scores.argsort(-1).argsort(-1) * (y == np.arange(n_way)[:, None])).sum(-1)
    return ((places - n_query * (n_query - 1) / 2) / pairs).mean(-1)


def coverage_of_areas(rng, spread, n, n_draws=300):
    """How many intervals hold the mean, and how much wider than Student's they are."""
    every = areas(rng, spread, 8_000)
    draws = [rng.choice(every, n).tolist() for _ in range(n_draws)]
    found = [estimate(values, draws_of_pairs(n, 75)) for values in draws]
    wider = np.mean([one.half_width for one in found]) / np.mean([student(values).half_width for values in draws])
    return np.mean([one.low <= every.mean() <= one.high for one in found]), wider


@pytest.mark.full
@pytest.mark.parametrize("n", [2, 3, 5, 10, 29, 30, 100, 600])
@pytest.mark.parametrize("spread", [0, 0.1, 0.2])
def test_intervals_of_areas_hold_the_mean(rng, spread, n):
    share, wider = coverage_of_areas(rng, spread, n)
    assert share > 0.9
    assert n < 100 or wider < 1.05  # where there are many episodes, they are Student's


def test_of_a_few_areas_that_are_all_1_little_is_known_of_many_much():
    few, many = (estimate([1.0] * n, draws_of_pairs(n, 75)) for n in (3, 300))
    assert ends(few) == (pytest.approx(1 - 1.96**2 / (3 * 75 + 1.96**2)), 1)
    assert 0.9999 < many.low < many.high == 1


def test_all_images_of_a_split_right_is_not_certainty():
    found = estimate_of_strata([np.ones(96)])
    assert ends(found) == (pytest.approx(1 - 1.96**2 / (96 + 1.96**2)), 1)
    by_class = estimate_of_strata([np.ones(10), np.ones(1000)])
    assert ends(by_class) == (pytest.approx(1 - 1.96**2 / (4 / (1 / 10 + 1 / 1000) + 1.96**2)), 1)


def test_accuracies_are_fractions():
    with pytest.raises(ValueError, match="accuracies are fractions from 0 to 1, not 36.7 to 92.1"):
        estimate([36.7, 92.1], 75)
