"""Areas under curves against scikit-learn, with ties, absent classes and certain probabilities."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from fewshot_bn.evaluation.ranking import area_under_roc, log_odds, ranks


def problem(seed, n_way, n_episodes=4, n_query=30):
    """Queries in unequal numbers of each class, a third of which have the very scores of another."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(n_way, (n_episodes, n_query), generator=generator)
    y[:, :n_way] = torch.arange(n_way)
    logits = torch.randn(n_episodes, n_query, n_way, generator=generator).double()
    logits += torch.nn.functional.one_hot(y, n_way)
    logits[:, 20:] = logits[:, :10]
    return logits, y


@pytest.mark.parametrize("n_way", [3, 5, 20])
def test_the_area_is_scikit_learns_with_ties(fresh_seed, n_way):
    logits, y = problem(fresh_seed, n_way)
    p = logits.softmax(-1).numpy()
    expected = [roc_auc_score(y[e], p[e], multi_class="ovr", average="macro") for e in range(4)]
    assert area_under_roc(logits, y).tolist() == pytest.approx(expected)


def test_of_two_classes_it_is_the_area_of_one(fresh_seed):
    logits, y = problem(fresh_seed, 2)
    expected = [roc_auc_score(y[e], logits[e, :, 1] - logits[e, :, 0]) for e in range(4)]
    assert area_under_roc(logits, y).tolist() == pytest.approx(expected)


def test_absent_classes_are_left_out(fresh_seed):
    logits, y = problem(fresh_seed, 5)
    y[0][y[0] == 1] = 3
    y[1][y[1] > 1] = 0
    expected = [
        np.mean([roc_auc_score(y[e] == k, logits[e].softmax(-1)[:, k]) for k in y[e].unique()]) for e in range(4)
    ]
    assert area_under_roc(logits, y).tolist() == pytest.approx(expected)


def test_where_nothing_is_ordered_the_area_is_a_half(fresh_seed):
    logits, y = problem(fresh_seed, 3)
    y[2] = 1  # queries of one class
    logits[1] = 0
    assert area_under_roc(logits, y)[1:3].tolist() == [0.5, 0.5]
    assert area_under_roc(logits[:1, :1], y[:1, :1]).tolist() == [0.5]  # a single query


def test_certain_probabilities_keep_their_order():
    certainty = torch.arange(6.0).double() + 1000  # every p is 1 within rounding
    y = torch.tensor([[0, 1, 0, 1, 1, 1]])
    logits = torch.stack([torch.zeros(6).double(), certainty], -1)[None]
    assert float(area_under_roc(logits, y)) == roc_auc_score(y[0], certainty) == 7 / 8


@pytest.mark.parametrize("top", [1.0, 2.0, 30.0])
def test_the_same_votes_for_other_classes_are_ties_whatever_the_rounding(fresh_seed, top):
    """Every row is the same numbers in another order, so a class has as many probabilities as there are numbers."""
    votes = torch.tensor(list(itertools.permutations([0.3, 0.1, -0.7, -0.7, top])), dtype=torch.float64)
    y = torch.randint(5, (len(votes),), generator=torch.Generator().manual_seed(fresh_seed))
    expected = np.mean([roc_auc_score(y == k, votes[:, k]) for k in range(5)])
    assert float(area_under_roc(votes[None], y[None])) == pytest.approx(expected, abs=1e-12)


def test_equal_scores_share_the_mean_of_their_places(rng):
    scores = rng.integers(0, 6, (3, 4, 11)).astype(float)
    assert (ranks(scores) == rankdata(scores, axis=-1) - 1).all()
    apart = rng.permuted(np.arange(24.0).reshape(2, 12), axis=1)
    assert (ranks(apart) == rankdata(apart, axis=-1) - 1).all()


def test_odds_are_those_of_the_softmax(fresh_seed):
    logits, _ = problem(fresh_seed, 4)
    p = logits.softmax(-1)
    assert torch.allclose(log_odds(logits), (p / (1 - p)).log(), atol=1e-9)
    assert torch.allclose(log_odds(logits)[2], log_odds(logits[2]), atol=1e-12)


def test_odds_of_certain_classes_are_exact():
    scores = torch.tensor([[5000.0, 0.0, -1.0], [0.0, 0.0, -9000.0], [-3.0, 800.0, 800.0]]).double()
    rest = np.log1p(np.exp(-1))
    expected = [[5000 - rest, -5000, -5001], [0, 0, -9000 - np.log(2)], [-803 - np.log(2), 0, 0]]
    assert log_odds(scores).numpy() == pytest.approx(np.array(expected), rel=1e-14, abs=1e-15)
