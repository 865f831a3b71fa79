import hashlib

import numpy as np
import pytest

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.errors import DataError, UsageError

SIZES = [30, 25, 40, 22, 35, 28]


def draw(shape=None, **kwargs):
    return sample(SIZES, shape or EpisodeShape(), **{"seed": 3, "n_episodes": 20, **kwargs})


def test_shapes_classes_and_rows_fit_together():
    episodes = draw(EpisodeShape(4, 3, 7))
    assert (episodes.classes.shape, episodes.support.shape, episodes.query.shape) == ((20, 4), (20, 4, 3), (20, 4, 7))
    first = np.concatenate([[0], np.cumsum(SIZES)])
    for rows in (episodes.support, episodes.query):
        assert (rows >= first[episodes.classes][..., None]).all()
        assert (rows < first[episodes.classes + 1][..., None]).all()


def test_nothing_is_drawn_twice_in_an_episode():
    episodes = sample([20] * 6, EpisodeShape(5, 5, 15), seed=0, n_episodes=50)  # every image of a class is used
    for e in range(50):
        rows = np.concatenate([episodes.support[e].ravel(), episodes.query[e].ravel()])
        assert len(np.unique(rows)) == len(rows)
        assert len(np.unique(episodes.classes[e])) == 5


def test_shorter_lists_are_prefixes_and_any_part_can_be_drawn_alone():
    long = draw(n_episodes=20)
    assert draw(n_episodes=8).fingerprint == long[:8].fingerprint
    assert draw(n_episodes=5, start=11).fingerprint == long[11:16].fingerprint


def test_shots_queries_and_ways_are_nested():
    one, five = draw(EpisodeShape(5, 1, 15)), draw(EpisodeShape(5, 5, 15))
    assert (five.support[..., :1] == one.support).all()
    assert (five.query == one.query).all()
    assert (draw(EpisodeShape(5, 5, 4)).query == five.query[..., :4]).all()
    assert (draw(EpisodeShape(3, 5, 15)).support == five.support[:, :3]).all()


def test_another_seed_gives_other_episodes():
    assert draw(seed=3).fingerprint != draw(seed=4).fingerprint


def test_the_list_is_pinned():
    """The contract with everyone who has run these episodes: they never change."""
    sizes = [3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000]  # EuroSAT
    episodes = sample(sizes, EpisodeShape(), seed=0, n_episodes=600)
    assert episodes.fingerprint == "600f86fe1f6d0d6d5740f39cf42cfa50caf67f8cdee34d4870ff2fe68e68efdf"
    assert episodes.fingerprint == fingerprint_by_hand(episodes)


def fingerprint_by_hand(episodes):
    sha = hashlib.sha256()
    for rows in (episodes.classes, episodes.support, episodes.query):
        sha.update(str(tuple(rows.shape)).encode())
        for row in rows.ravel().tolist():
            sha.update(row.to_bytes(8, "little"))
    return sha.hexdigest()


def test_classes_and_images_are_drawn_uniformly():
    episodes = sample([24] * 6, EpisodeShape(2, 1, 1), seed=1, n_episodes=3000)
    classes = np.bincount(episodes.classes.ravel(), minlength=6)
    assert ((classes - 1000) ** 2 / 1000).sum() < 20.5  # 0.1 % quantile, 5 degrees of freedom
    rows = np.bincount(episodes.query.ravel(), minlength=144)
    assert ((rows - 6000 / 144) ** 2 / (6000 / 144)).sum() < 199  # 0.1 % quantile, 143 degrees of freedom


def test_a_class_that_is_too_small_is_named():
    with pytest.raises(DataError, match=r"class 'river' has 12 images, an episode needs 20 \(5 support \+ 15 query\)"):
        sample([30, 12, 25], EpisodeShape(2), seed=0, n_episodes=1, class_names=["sea", "river", "lake"])
    with pytest.raises(DataError, match="class '1' has 3 images \\(and 1 more classes are too small\\)"):
        sample([30, 3, 12], EpisodeShape(2), seed=0, n_episodes=1)


@pytest.mark.parametrize("shape", [(1, 5, 15), (5, 0, 15), (5, 5, -2)])
def test_impossible_shapes(shape):
    with pytest.raises(UsageError, match="an episode needs at least"):
        EpisodeShape(*shape)


def test_more_ways_than_classes():
    with pytest.raises(UsageError, match="n_way is 7, but there are only 6 classes"):
        draw(EpisodeShape(7))


def test_no_episodes():
    with pytest.raises(UsageError, match="n_episodes is 0"):
        draw(n_episodes=0)
