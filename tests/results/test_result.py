from dataclasses import replace

import pytest

from fewshot_bn.results.result import ManyShotResult, Result
from fewshot_bn.results.statistics import paired_difference

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
