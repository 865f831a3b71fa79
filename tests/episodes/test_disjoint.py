import itertools

import numpy as np
import pytest

from fewshot_bn.datasets import read_dataset_card, shipped_cards
from fewshot_bn.episodes import EpisodeShape, Plan, n_disjoint, sample_disjoint
from fewshot_bn.errors import DataError, UsageError


def sizes_of(name):
    return list(read_dataset_card(shipped_cards()[name]).classes.values())


@pytest.mark.parametrize(("name", "n"), [("isic", 26), ("chestx", 200), ("eurosat", 270), ("cropdisease", 431)])
def test_as_many_exist_as_published(name, n):
    """Lafargue et al. 2024 for 5-way 5-shot 15-query."""
    sizes, shape = sizes_of(name), EpisodeShape(5, 5, 15)
    assert n_disjoint(sizes, shape) == n
    episodes = sample_disjoint(sizes, shape, seed=0)
    assert len(episodes) == n
    check(episodes, sizes)


def check(episodes, sizes):
    rows = np.concatenate([episodes.support, episodes.query], -1)
    assert len(np.unique(rows)) == rows.size
    first = np.concatenate([[0], np.cumsum(sizes)])
    assert (rows >= first[episodes.classes][..., None]).all()
    assert (rows < first[episodes.classes + 1][..., None]).all()
    assert all(len(set(classes)) == len(classes) for classes in episodes.classes.tolist())


def most_by_search(room, n_way):
    """The largest number of episodes, by trying everything."""
    best = 0
    for classes in itertools.combinations([k for k, n in enumerate(room) if n], n_way):
        best = max(best, 1 + most_by_search([n - (k in classes) for k, n in enumerate(room)], n_way))
    return best


def test_no_more_can_exist(fresh_seed):
    rng = np.random.default_rng(fresh_seed)
    for _ in range(40):
        sizes = rng.integers(0, 9, rng.integers(2, 5)).tolist()
        shape = EpisodeShape(int(rng.integers(2, 4)), 1, 1)
        n = n_disjoint(sizes, shape)
        assert n == most_by_search([size // 2 for size in sizes], shape.n_way)
        if n:
            check(sample_disjoint(sizes, shape, seed=fresh_seed), sizes)


def test_fewer_episodes_are_the_front_of_the_list():
    sizes, shape = sizes_of("isic"), EpisodeShape(5, 5, 15)
    whole = sample_disjoint(sizes, shape, seed=4)
    assert sample_disjoint(sizes, shape, seed=4, n_episodes=7).fingerprint == whole[:7].fingerprint
    assert sample_disjoint(sizes, shape, seed=5).fingerprint != whole.fingerprint


def test_the_front_of_the_list_is_like_its_rest():
    """Rare classes are not all used up first: over many seeds each half holds about half of them."""
    sizes, shape = sizes_of("isic"), EpisodeShape(5, 5, 15)
    rare = [np.isin(sample_disjoint(sizes, shape, seed=seed).classes, (5, 6)).sum(1) for seed in range(40)]
    first, second = (np.concatenate(part).mean() for part in ([r[:13] for r in rare], [r[13:] for r in rare]))
    assert first == pytest.approx(second, rel=0.15)


def test_the_list_is_kept():
    """A stored hash: lists must never change."""
    episodes = sample_disjoint([50, 60, 40, 45], EpisodeShape(3, 2, 3), seed=0)
    assert (len(episodes), episodes.fingerprint[:16]) == (13, "d8f7d0bcb7d56c6f")


def test_asking_for_more_says_how_many_there_are():
    with pytest.raises(DataError, match="26 disjoint episodes exist at 5-way 5-shot 15-query; lower --n-episodes"):
        sample_disjoint(sizes_of("isic"), EpisodeShape(5, 5, 15), seed=0, n_episodes=27)
    with pytest.raises(DataError, match="0 disjoint episodes exist .*; lower --n-way, --n-support or --n-query"):
        sample_disjoint([5, 5], EpisodeShape(2, 5, 15), seed=0)


def test_disjoint_episodes_do_not_go_by_group():
    with pytest.raises(UsageError, match="--by-group draws random episodes; it does not go with --episodes disjoint"):
        Plan(kind="disjoint", by_group=True)
