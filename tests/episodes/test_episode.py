"""Lists of episodes that are not all alike."""

from dataclasses import replace

import numpy as np
import pytest

from fewshot_bn.episodes import Episodes, EpisodeShape, sample
from fewshot_bn.episodes.episode import NO_ROW, stacked
from fewshot_bn.episodes.meta_dataset import sample_meta_dataset
from fewshot_bn.errors import UsageError

LABELS = np.repeat(np.arange(3), 10)
TWO = stacked([[0, 1], [2, 0, 1]], [[[0, 1], [10]], [[20], [2], [11]]], [[[5], []], [[25, 26], [6], [15]]])


def test_what_is_not_there_is_filled_up():
    assert TWO.classes.tolist() == [[0, 1, NO_ROW], [2, 0, 1]]
    assert TWO.support.tolist() == [[[0, 1], [10, NO_ROW], [NO_ROW, NO_ROW]], [[20, NO_ROW], [2, NO_ROW], [11, NO_ROW]]]
    assert TWO.n_support.tolist() == [[2, 1, 0], [1, 1, 1]]
    assert TWO.n_query.tolist() == [[1, 0, 0], [2, 1, 1]]
    assert TWO.sizes.tolist() == [[2, 3, 1], [3, 3, 4]]
    assert TWO.rows.tolist() == [0, 1, 2, 5, 6, 10, 11, 15, 20, 25, 26]
    assert not TWO.is_uniform
    TWO.check(LABELS)


def test_an_episode_by_itself_is_as_narrow_as_it_can_be():
    first = TWO[:1]
    assert (first.classes.tolist(), first.support.tolist(), first.query.tolist()) == (
        [[0, 1]],
        [[[0, 1], [10, NO_ROW]]],
        [[[5], [NO_ROW]]],
    )
    assert first.fingerprint == stacked([[0, 1]], [[[0, 1], [10]]], [[[5], []]]).fingerprint
    assert first.seeds == TWO.seeds[:1]


def test_flat_rows_have_the_places_of_their_classes():
    rows, places = TWO[1:].flat("query")
    assert (rows.tolist(), places.tolist()) == ([[25, 26, 6, 15]], [[0, 0, 1, 2]])
    rows, places = TWO[:1].flat("support")
    assert (rows.tolist(), places.tolist()) == ([[0, 1, 10]], [[0, 0, 1]])


def test_episodes_of_one_shape_are_untouched():
    episodes = sample([30, 25, 40], EpisodeShape(3, 2, 4), seed=0, n_episodes=6)
    assert episodes.is_uniform
    assert episodes.alike is episodes
    rows, places = episodes.flat("query")
    assert (rows == episodes.query.reshape(6, 12)).all()
    assert places.tolist() == [np.repeat(np.arange(3), 4).tolist()] * 6
    assert len(episodes[6:]) == 0


def test_those_that_are_alike_come_together(fresh_seed):
    episodes = sample_meta_dataset([2, 3, 4, 3, 2, 3], seed=fresh_seed, n_episodes=30)
    start, found = 0, []
    while start < len(episodes):
        part = episodes[start:].alike
        assert len({tuple(sizes) for sizes in part.sizes.tolist()}) == 1
        (support, places), (query, _) = part.flat("support"), part.flat("query")
        assert (LABELS_OF_SIX[support] == np.take_along_axis(part.classes, places, 1)).all()
        found += [[*s, *q] for s, q in zip(support.tolist(), query.tolist(), strict=True)]
        start += len(part)
    one_by_one = [episodes[e : e + 1].rows.tolist() for e in range(30)]
    assert [sorted(rows) for rows in found] == one_by_one


LABELS_OF_SIX = np.repeat(np.arange(6), [2, 3, 4, 3, 2, 3])


def test_what_cannot_be_run_is_refused():
    support, query = TWO.support.copy(), TWO.query.copy()
    support[1, 2, 0] = NO_ROW
    with pytest.raises(UsageError, match="episode 1: it has no query, or no support image of one of its classes"):
        replace(TWO, support=support).check(LABELS)
    query[0] = NO_ROW
    with pytest.raises(UsageError, match="episode 0: it has no query"):
        replace(TWO, query=query).check(LABELS)
    with pytest.raises(UsageError, match="episode 0: its images are not of its classes"):
        Episodes(TWO.classes[:, [1, 0, 2]], TWO.support, TWO.query).check(LABELS)
