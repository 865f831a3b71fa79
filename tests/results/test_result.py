from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.evaluation.metrics import comparable_metric
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import draws_of_pairs, estimate, paired_difference

KEY = {
    "fewshot_bn": "0",
    "dataset": {"name": "plants", "fingerprint": "a"},
    "backbone": {"name": "net"},
    "adapter": {"name": "bn"},
    "shape": {"n_way": 5, "n_support": 1, "n_query": 2},
    "seed": 3,
}
BN = Result(KEY, correct=(7, 9, 8))
LR = Result(KEY | {"adapter": {"name": "lr"}, "backbone": {"name": "another"}, "fewshot_bn": "1"}, correct=(5, 9, 4))


def test_results_of_the_same_episodes_are_compared_in_pairs():
    assert BN.difference_to(LR) == paired_difference([0.7, 0.9, 0.8], [0.5, 0.9, 0.4], 10)
    assert BN[:2].difference_to(LR[:2]).mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"dataset": {"name": "plants", "fingerprint": "b"}},
        {"shape": {"n_way": 5, "n_support": 5, "n_query": 2}},
        {"by_group": True},
        {"shard": "1/2"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_results_of_other_episodes_are_not_compared(other):
    with pytest.raises(ValueError, match="results of bn and lr are not of the same episodes"):
        BN.difference_to(replace(LR, key=LR.key | other))


def test_results_of_more_episodes_are_not_compared():
    with pytest.raises(ValueError, match="not of the same episodes"):
        BN.difference_to(LR[:2])


def test_a_summary_has_the_ends_of_the_interval():
    summary = BN.summary
    assert summary["ci95"] == [BN.accuracy.low, BN.accuracy.high]
    assert 0 < summary["ci95"][0] < summary["accuracy"] < summary["ci95"][1] < 1
    assert BN[:1].summary["ci95"] is None


@pytest.mark.parametrize(("intervals", "ends"), [({"top-1": [0.7, 0.95]}, (0.7, 0.95)), (None, (0.7, 1.1))])
def test_scores_of_a_split_have_the_interval_of_their_file_older_ones_a_half_width(intervals, ends):
    result = ManyShotResult({}, "top-1", [], 1.0, True, {"top-1": 0.9, "map": 0.8}, {"top-1": 0.2}, [0], {}, intervals)
    found = result.test_estimate("top-1")
    assert (found.mean, found.low, found.high) == (0.9, pytest.approx(ends[0]), pytest.approx(ends[1]))
    assert result.test_estimate("map") is None


MEASURED = {"auc": (0.9, 0.8, 1.0), "nll": (0.5, 2.5, 0.25), "f1": (0.6, None, None)}
TAKEN = [[place // 2 if place < n else (place // 2 + 1) % 5 for place in range(10)] for n in BN.correct]


def test_values_of_each_episode_and_what_they_say_together():
    bn, lr = replace(BN, measures=MEASURED), replace(LR, measures={"auc": (0.7, 0.8, 0.6), "nll": (1.0, 2.0, 0.5)})
    assert bn.values("auc") == [0.9, 0.8, 1.0]
    assert bn.values("accuracy") == bn.accuracies
    assert bn.estimate("accuracy") == bn.accuracy
    assert bn.estimate("auc") == estimate([0.9, 0.8, 1.0], draws_of_pairs(3, 10))
    assert bn.estimate("nll") == estimate([0.5, 2.5, 0.25])
    assert bn.difference_to(lr, "nll") == paired_difference([0.5, 2.5, 0.25], [1.0, 2.0, 0.5])
    assert bn.difference_to(lr, "auc") == paired_difference([0.9, 0.8, 1.0], [0.7, 0.8, 0.6], draws_of_pairs(3, 10))


def test_values_of_before_there_was_the_metric_come_from_the_predictions_where_those_are_kept():
    bn = replace(BN, measures={**MEASURED, "predicted": tuple(TAKEN)})
    y = np.arange(10) // 2
    assert bn.values("f1") == pytest.approx([0.6, *(f1_score(y, taken, average="macro") for taken in TAKEN[1:])])
    assert bn.values("mean-per-class") == pytest.approx(bn.accuracies)
    half = replace(BN, measures={"predicted": (TAKEN[0], None, TAKEN[2])})
    assert (half.lacking("mean-per-class"), half.lacking("auc"), half.lacking("accuracy")) == (1, 3, 0)
    with pytest.raises(ResultError, match="bn: 1 of 3 episodes are from before mean-per-class was measured"):
        half.values("mean-per-class")
    with pytest.raises(ResultError, match="lr: 3 of 3 episodes are from before auc was measured"):
        bn.difference_to(LR, "auc")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("aoc", r"unknown metric 'aoc' \(did you mean 'auc'\?\)"),
        ("calibration_error", "unknown metric 'calibration_error'"),  # it has no value of an episode
        (None, "a metric is None; a name is needed: accuracy, nll, mean-per-class, auc, f1"),
    ],
)
def test_a_metric_that_is_none(metric, message):
    with pytest.raises(UsageError, match=message):
        comparable_metric(metric)
