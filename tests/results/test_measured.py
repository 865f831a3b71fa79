import math

import numpy as np
import pytest
from reference.ranked import LABELS, many_shot, result_of, seen

from fewshot_bn.errors import ResultError
from fewshot_bn.results.measured import fingerprint_of, is_measured, measure, n_units
from fewshot_bn.results.statistics import Estimate, estimate

FEW = result_of("lr", "net", [3, 10, 20], measures={"nll": (0.5, 1.5, 2.5)})
MANY = many_shot("lr", "net", 0.5)


def test_a_few_shot_result_has_a_value_for_each_episode():
    found = measure(FEW, "accuracy", 2)
    assert found.values.tolist() == [0.15, 0.5]
    assert found.estimate == estimate([0.15, 0.5], 20)
    assert measure(FEW, "nll", 3).values.tolist() == [0.5, 1.5, 2.5]
    assert (n_units(FEW), fingerprint_of(FEW), is_measured(FEW, "auc")) == (3, "episodes3", True)
    assert not is_measured(FEW, "map")
    assert [places.tolist() for places in found.strata] == [[0, 1]]


def test_episodes_of_before_there_was_the_metric_are_an_error():
    with pytest.raises(ResultError, match="lr: 3 of 3 episodes are from before auc was measured"):
        measure(FEW, "auc", 3)


def test_an_older_many_shot_result_has_its_score_with_the_interval_that_it_keeps():
    found = measure(MANY, "accuracy", 20)
    assert found.values is None
    assert found.estimate == MANY.test_estimate("top-1")
    assert (n_units(MANY), fingerprint_of(MANY)) == (20, "rows")
    assert [is_measured(MANY, name) for name in ("accuracy", "mean-per-class", "auc")] == [True, True, False]


def test_a_score_without_an_interval_has_an_unknown_one():
    result = many_shot("lr", "net", 0.5)
    result.test_half_widths.pop("mean-per-class")
    assert measure(result, "mean-per-class", 20).estimate == Estimate(0.5, math.inf, 20)


@pytest.fixture
def right(fresh_seed):
    return np.random.default_rng(np.random.Philox(fresh_seed)).random(20) < 0.6


def test_test_images_have_values_whose_mean_is_the_score(right):
    result = seen("lr", "net", right.tolist())
    found = measure(result, "accuracy", 20)
    assert found.values.tolist() == right.astype(float).tolist()
    assert [places.tolist() for places in found.strata] == [list(range(20))]
    by_class = measure(result, "mean-per-class", 20)
    assert by_class.values.mean() == pytest.approx(result.test["mean-per-class"])
    assert [places.tolist() for places in by_class.strata] == [
        [i for i, k in enumerate(LABELS) if k == c] for c in range(3)
    ]
    assert by_class.estimate == result.test_estimate("mean-per-class")


def test_a_metric_that_is_no_mean_over_images_has_no_values(right):
    result = seen("lr", "net", right.tolist())
    assert is_measured(result, "map")
    assert measure(result, "map", 20).values is None
    assert measure(result, "map", 20).estimate == Estimate(0.5, math.inf, 20)
