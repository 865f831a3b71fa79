import math

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp, ttest_rel

from fewshot_bn.results.statistics import average, estimate, holm, paired_difference, paired_p_value


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
    found = average([estimate(column.tolist()) for column in draws[0].T])
    assert (found.mean, found.n) == (pytest.approx(draws[0].mean()), 75)
    errors = draws.mean((1, 2)) - 0.5
    widths = [average([estimate(column.tolist()) for column in draw.T]).half_width for draw in draws[:200]]
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
    with pytest.raises(ValueError, match="2 and 3 values cannot be paired"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
