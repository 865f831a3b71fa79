import numpy as np
import pytest
import torch
from scipy.stats import gamma, kstest

from fewshot_bn import rng
from fewshot_bn.errors import UsageError


def test_streams_are_the_same_on_every_platform():
    assert rng.words(2, 0, "images", 3, 1).tolist() == [13075447349294858477, 13521889725620488454]


def test_a_stream_depends_on_seed_and_path_only():
    first = rng.words(4, 1, "a", 2)
    np.random.default_rng(0).random(10)
    assert (rng.words(4, 1, "a", 2) == first).all()
    others = [
        rng.words(4, 2, "a", 2),
        rng.words(4, 1, "b", 2),
        rng.words(4, 1, "a", 3),
        rng.words(4, 1, "a"),
    ]
    assert all((other != first).all() for other in others)


@pytest.mark.parametrize("n", [1, 2, 3, 100, 4096, 4097])
def test_a_permutation_holds_every_number_once(n):
    assert sorted(rng.permutation(n, 5, "x").tolist()) == list(range(n))


def test_permutations_are_uniform():
    counts = np.zeros((5, 5))
    for i in range(6000):
        counts[rng.permutation(5, 0, "uniform", i), np.arange(5)] += 1
    chi_squared = ((counts - 1200) ** 2 / 1200).sum()
    assert chi_squared < 39.3  # 0.1 % quantile of chi squared with 16 degrees of freedom


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_an_error(seed):
    with pytest.raises(UsageError, match="seed is"):
        rng.words(1, seed)


def test_torch_state_is_a_pure_function_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with rng.torch_state(0, "net"):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_numbers_are_uniform_and_never_the_ends(monkeypatch):
    found = rng.uniforms(20_000, 0, "uniform")
    assert kstest(found, "uniform").pvalue > 1e-3
    for word, end in ((0, 0.0), (2**64 - 1, 1.0)):
        monkeypatch.setattr(rng, "words", lambda n, *_, word=word: np.full(n, word, np.uint64))
        value = float(rng.uniforms(1, 0)[0])
        assert value != end
        assert value == pytest.approx(end)


@pytest.mark.parametrize("alpha", [0.1, 0.7, 1.0, 2.0, 50.0])
def test_gamma_numbers_have_their_distribution(alpha):
    found = np.exp(rng.log_gammas(alpha, 4000, 0, "gamma"))
    assert kstest(found, gamma(alpha).cdf).pvalue > 1e-3


def test_logarithms_of_gamma_numbers_stay_finite_and_the_first_are_the_same():
    tiny = rng.log_gammas(1e-6, 50, 3, "gamma")
    assert np.isfinite(tiny).all()
    assert min(tiny) < np.log(np.finfo(float).tiny)  # the numbers themselves would be 0
    assert rng.log_gammas(1e-6, 7, 3, "gamma") == tiny[:7]
