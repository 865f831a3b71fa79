"""Meta-Dataset's rule against itself written plainly, and the distributions that it stands for."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from fewshot_bn.episodes.meta_dataset import n_images, sample_meta_dataset
from fewshot_bn.errors import DataError, UsageError

SIZES = [40, 300, 25, 1000, 90, 60, 2, 700]


def plainly(sizes, b, alphas):
    """Equations of the paper in numpy, class by class."""
    q = min(10, *(math.floor(0.5 * m) for m in sizes))
    size = min(500, sum(math.ceil(b * min(100, m - q)) for m in sizes))
    ratios = np.exp(alphas) * np.array(sizes) / np.dot(np.exp(alphas), sizes)
    shots = [min(math.floor(r * (size - len(sizes))) + 1, m - q) for r, m in zip(ratios, sizes, strict=True)]
    return shots, [q] * len(sizes)


def test_numbers_of_images_are_those_of_the_published_rule(fresh_seed):
    rng = np.random.default_rng(fresh_seed)
    for _ in range(500):
        sizes = rng.integers(2, rng.choice([10, 100, 2000]), rng.integers(5, 51)).tolist()
        b, alphas = 1 - rng.random(), rng.uniform(math.log(0.5), math.log(2), len(sizes))
        shots, queries = n_images(sizes, b, alphas.tolist())
        assert (shots, queries) == plainly(sizes, b, alphas)
        assert min(shots) >= 1
        assert sum(shots) <= 500
        assert all(s + q <= m for s, q, m in zip(shots, queries, sizes, strict=True))


def test_episodes_are_of_their_classes_and_shorter_lists_are_prefixes():
    long = sample_meta_dataset(SIZES, seed=3, n_episodes=40)
    long.check(np.repeat(np.arange(len(SIZES)), SIZES))
    for n in (1, 7, 39):
        short = sample_meta_dataset(SIZES, seed=3, n_episodes=n)
        assert short.fingerprint == long[:n].fingerprint
        assert short.seeds == long.seeds[:n]
    assert sample_meta_dataset(SIZES, seed=4, n_episodes=40).fingerprint != long.fingerprint


def test_ways_are_uniform_up_to_50_or_the_number_of_classes():
    for n_classes, most in ((8, 8), (60, 50)):
        ways = sample_meta_dataset([2] * n_classes, seed=0, n_episodes=500).sizes[:, 0]
        counts = np.bincount(ways, minlength=most + 1)[5:]
        assert len(counts) == most - 4
        assert chisquare(counts).pvalue > 1e-3


def test_queries_are_half_the_smallest_class_at_most():
    episodes = sample_meta_dataset(SIZES, seed=3, n_episodes=40)
    for classes, counts in zip(episodes.classes, episodes.n_query, strict=True):
        own = classes[classes >= 0]
        assert set(counts[: len(own)]) == {min(10, min(SIZES[k] for k in own) // 2)}


def test_larger_classes_give_more_support_images_on_average():
    episodes = sample_meta_dataset(SIZES, seed=3, n_episodes=400)
    shots = {k: episodes.n_support[episodes.classes == k].mean() for k in range(len(SIZES))}
    assert sorted(shots, key=shots.get) == sorted(shots, key=lambda k: SIZES[k])
    assert episodes.sizes[:, 1].max() <= 500


def test_the_list_is_pinned():
    """The contract with everyone who has run these episodes: they never change."""
    sizes = [3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000]  # EuroSAT
    episodes = sample_meta_dataset(sizes, seed=0, n_episodes=20)
    assert episodes.fingerprint == "88b4c5460e2bf56218965b70508b6a477453ab0f5f87cb15a3e0043b480eb964"


def test_too_few_classes_or_images():
    with pytest.raises(DataError, match="4 classes; --episodes meta-dataset needs at least 5; take --episodes random"):
        sample_meta_dataset([20] * 4, seed=0, n_episodes=1)
    message = r"class 'c' has 1 images, --episodes meta-dataset needs 2 \(1 support \+ 1 query\); leave the class out"
    with pytest.raises(DataError, match=message):
        sample_meta_dataset([20, 20, 1, 20, 20], seed=0, n_episodes=1, class_names="abcde")
    with pytest.raises(UsageError, match="n_episodes is 0"):
        sample_meta_dataset([20] * 5, seed=0, n_episodes=0)
