import numpy as np
import pytest
from scipy import stats

from fewshot_bn.results.agreement import REGRET, RHO, TAU, R, agreement, order, ranks_of

REFERENCES = {TAU: stats.kendalltau, RHO: stats.spearmanr, R: stats.pearsonr}


def plain(x, y):
    """Of one sample, by scipy; the regret by a loop."""
    found = {name: reference(x, y).statistic for name, reference in REFERENCES.items()}
    tied = [y[b] for b in range(len(x)) if x[b] == max(x)]
    return found | {REGRET: max(y) - sum(tied) / len(tied)}


def scores(seed, n_samples, n_backbones, n_values):
    """Numbers with ties: fractions of `n_values`."""
    rng = np.random.default_rng(np.random.Philox(seed))
    return rng.integers(0, n_values, (2, n_samples, n_backbones)) / n_values


@pytest.mark.parametrize(("n_backbones", "n_values"), [(5, 6), (12, 8), (12, 1000), (40, 10)])
def test_numbers_are_those_of_scipy_with_and_without_ties(fresh_seed, n_backbones, n_values):
    x, y = scores(fresh_seed, 20, n_backbones, n_values)
    found = agreement(x, y, np.ones_like(x))
    for i in range(len(x)):
        if np.ptp(x[i]) and np.ptp(y[i]):
            for name, value in plain(x[i], y[i]).items():
                assert found[name][i] == pytest.approx(value, abs=1e-12), name


def test_a_backbone_that_is_there_several_times_counts_so_often(fresh_seed):
    x, y = scores(fresh_seed, 20, 9, 7)
    rng = np.random.default_rng(np.random.Philox(fresh_seed))
    times = np.stack([np.bincount(rng.integers(0, 9, 9), minlength=9) for _ in x]).astype(float)
    found = agreement(x, y, times)
    for i, counts in enumerate(times.astype(int)):
        one, other = np.repeat(x[i], counts), np.repeat(y[i], counts)
        if np.ptp(one) and np.ptp(other):
            for name, value in plain(one, other).items():
                assert found[name][i] == pytest.approx(value, abs=1e-12), name


def test_portions_give_what_all_samples_together_give(fresh_seed, monkeypatch):
    x, y = scores(fresh_seed, 23, 6, 50)
    whole = agreement(x, y, np.ones_like(x))
    monkeypatch.setattr("fewshot_bn.results.agreement.PAIRS_AT_ONCE", 5 * 36)
    for name, values in agreement(x, y, np.ones_like(x)).items():
        np.testing.assert_array_equal(values, whole[name])


@pytest.mark.parametrize("constant", [0, 1])
def test_where_all_are_tied_coefficients_are_undefined_and_the_regret_is_not(constant):
    pair = [np.array([[0.1, 0.5, 0.9]]), np.full((1, 3), 0.3)]
    x, y = pair if constant else pair[::-1]
    found = agreement(x, y, np.ones((1, 3)))
    assert all(np.isnan(found[name][0]) for name in (TAU, RHO, R))
    assert found[REGRET][0] == pytest.approx(0.0 if constant else 0.4)


def test_scores_that_differ_by_rounding_are_ties():
    x = np.array([[0.1 + 0.2, 0.3, 0.5]])
    assert order(x)[0].tolist() == [[0, 0, -1], [0, 0, -1], [1, 1, 0]]
    found = agreement(x, np.array([[0.2, 0.4, 0.6]]), np.ones((1, 3)))
    assert found[TAU][0] == pytest.approx(stats.kendalltau([3, 3, 5], [2, 4, 6]).statistic)
    best_twice = agreement(x[:, ::-1] * -1, np.array([[0.0, 0.4, 0.6]]), np.ones((1, 3)))
    assert best_twice[REGRET][0] == pytest.approx(0.1)


def test_the_best_choice_has_no_regret():
    x = np.array([[0.1, 0.9, 0.5]])
    assert agreement(x, x * (1 + 1e-15), np.ones((1, 3)))[REGRET].tolist() == [0.0]


def test_places_count_from_the_highest(fresh_seed):
    (x,), _ = scores(fresh_seed, 1, 15, 8)
    np.testing.assert_allclose(ranks_of(x), stats.rankdata(-x))
