import math

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp, ttest_rel

from fewshot_bn.results.statistics import estimate, paired_difference


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
