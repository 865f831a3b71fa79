import numpy as np
import pytest
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, Plan, sample, sample_by_group
from fewshot_bn.errors import DataError

SIZES = [60, 45, 80, 52, 40, 70]


def patients(rng, n_groups=150):
    """Groups that span classes."""
    return rng.integers(0, n_groups, sum(SIZES))


def draw(groups, shape=None, **kwargs):
    return sample_by_group(SIZES, groups, shape or EpisodeShape(5, 5, 10), **{"seed": 3, "n_episodes": 30, **kwargs})


def test_no_group_is_on_both_sides_and_none_there_twice(fresh_seed):
    groups = patients(np.random.default_rng(fresh_seed), n_groups=250)
    episodes = draw(groups, seed=fresh_seed)
    for e in range(len(episodes)):
        support, query = groups[episodes.support[e].ravel()], groups[episodes.query[e].ravel()]
        assert not set(support) & set(query)
        assert len(np.unique(np.concatenate([support, query]))) == 75


def test_a_group_comes_twice_only_where_its_class_has_no_new_one(fresh_seed):
    groups = np.arange(sum(SIZES))
    groups[:60] = np.arange(60) // 5  # class 0: 60 images of 12 groups
    episodes = draw(groups, EpisodeShape(6, 5, 10), seed=fresh_seed)
    for e in range(len(episodes)):
        way = int(np.flatnonzero(episodes.classes[e] == 0)[0])
        support, query = groups[episodes.support[e, way]], groups[episodes.query[e, way]]
        assert not set(support) & set(query)
        assert len(set(query)) == 10
        assert len(set(support)) == 2
        assert len(np.unique(np.concatenate([episodes.support[e, way], episodes.query[e, way]]))) == 15


def test_without_clashes_the_episodes_are_the_plain_ones():
    plain = sample(SIZES, EpisodeShape(5, 5, 10), seed=3, n_episodes=30)
    assert draw(np.arange(sum(SIZES))).fingerprint == plain.fingerprint


def test_shots_are_nested_and_queries_the_same(fresh_seed):
    groups = patients(np.random.default_rng(fresh_seed))
    one, five = (draw(groups, EpisodeShape(5, n, 10), seed=fresh_seed) for n in (1, 5))
    np.testing.assert_array_equal(one.query, five.query)
    np.testing.assert_array_equal(one.support, five.support[..., :1])
    fewer = draw(groups, EpisodeShape(5, 5, 4), seed=fresh_seed)
    np.testing.assert_array_equal(fewer.query, five.query[..., :4])


def test_shorter_lists_are_prefixes():
    groups = patients(np.random.default_rng(0))
    assert draw(groups, n_episodes=7).fingerprint == draw(groups)[:7].fingerprint


def test_the_first_image_in_the_plain_order_whose_group_is_new_is_taken(fresh_seed):
    """A plain reading of the rule, on one episode."""
    groups = patients(np.random.default_rng(fresh_seed))
    shape = EpisodeShape(5, 3, 4)
    whole = sample(SIZES, EpisodeShape(5, 20, 20), seed=fresh_seed, n_episodes=1)  # the ends of the plain orders
    got = draw(groups, shape, seed=fresh_seed, n_episodes=1)
    used = set()
    for part, order, n in ((got.query, whole.query, 4), (got.support, whole.support, 3)):
        for place in range(n):
            for way in sorted(range(5), key=lambda way: SIZES[got.classes[0, way]]):
                row = next(row for row in order[0, way] if groups[row] not in used)
                assert part[0, way, place] == row
                used.add(groups[row])


def test_too_few_groups_name_the_class():
    groups = np.arange(sum(SIZES))
    groups[:60] = 0
    with pytest.raises(DataError, match=r"class 'a' has 60 images of 1 groups, too few .* in episode \d+: 5 support"):
        draw(groups, class_names=list("abcdef"))


def test_a_dataset_without_groups_says_what_it_needs(image_folder):
    with pytest.raises(DataError, match="shapes: its files do not say which images are of one group; --by-group needs"):
        Plan(by_group=True).draw(open_dataset(str(image_folder)), EpisodeShape(2, 1, 1), 3)


@needs_shared
def test_the_real_patients_of_chestx_stay_on_one_side():
    dataset = open_dataset("chestx", root=SHARED / "data")
    shape = EpisodeShape(3, 1, 3)
    episodes = Plan(by_group=True).draw(dataset, shape, 40)
    plain = Plan().draw(dataset, shape, 40)
    groups = np.array(dataset.groups)

    def on_both_sides(drawn):
        sides = zip(drawn.support, drawn.query, strict=True)
        return sum(len(set(groups[s.ravel()]) & set(groups[q.ravel()])) for s, q in sides)

    assert (on_both_sides(episodes), on_both_sides(plain) > 0) == (0, True)
