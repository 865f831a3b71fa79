"""Classes that share the images of an episode unequally, against the published rules written plainly."""

import itertools

import numpy as np
import pytest
from scipy.stats import beta, chisquare, kstest

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.episodes.imbalanced import Sharing, linear, sample_imbalanced, whole
from fewshot_bn.errors import DataError, UsageError

SIZES = [120, 100, 150, 99, 130, 111]
SHAPE = EpisodeShape(5, 5, 15)


def draw(sharing, shape=SHAPE, sizes=SIZES, **kwargs):
    return sample_imbalanced(sizes, shape, sharing, **{"seed": 3, "n_episodes": 20, **kwargs})


@pytest.mark.parametrize("sharing", [Sharing("linear"), Sharing("random", 2.0), Sharing("balanced", 0.3)])
def test_totals_are_fixed_and_images_are_those_of_their_classes(sharing):
    episodes = draw(sharing)
    assert (episodes.n_support.sum(1) == 25).all()
    assert (episodes.n_query.sum(1) == 75).all()
    assert episodes.n_support.min() >= 1
    episodes.check(np.repeat(np.arange(len(SIZES)), SIZES))


def test_shared_equally_they_are_the_plain_ones():
    assert draw(Sharing()).fingerprint == sample(SIZES, SHAPE, seed=3, n_episodes=20).fingerprint


@pytest.mark.parametrize("sharing", [Sharing("linear", 2.0), Sharing("random", 0.1)])
def test_shorter_lists_are_prefixes(sharing):
    long = draw(sharing)
    for n in (1, 8, 19):
        short = draw(sharing, n_episodes=n)
        assert short.fingerprint == long[:n].fingerprint
        assert short.seeds == long.seeds[:n]


def test_images_of_a_class_are_the_front_and_the_back_of_the_order_of_plain_episodes():
    plain = sample(SIZES, EpisodeShape(5, 9, 75), seed=3, n_episodes=20)
    episodes = draw(Sharing("random", 1.0))
    assert (episodes.classes == plain.classes).all()
    for e, way in itertools.product(range(20), range(5)):
        for role, n in (("support", episodes.n_support[e, way]), ("query", episodes.n_query[e, way])):
            assert (getattr(episodes, role)[e, way, :n] == getattr(plain, role)[e, way, :n]).all()


def test_another_seed_gives_other_numbers():
    one, other = (draw(Sharing("random", 1.0), seed=seed) for seed in (3, 4))
    assert (one.n_support != other.n_support).any()
    assert (one.n_query != other.n_query).any()


@pytest.mark.parametrize("n_support", [2, 3, 5, 8, 20, 50])
@pytest.mark.parametrize("n_way", [2, 3, 5, 6, 10, 21])
def test_linear_numbers_are_those_of_the_published_rule(n_way, n_support):
    found = linear(EpisodeShape(n_way, n_support, 1))
    published = np.around(np.linspace(1 - 0.49, 2 * n_support - 1 + 0.49, n_way)).astype(int)
    assert found == published.tolist()
    assert sum(found) == n_way * n_support


def test_linear_numbers_go_to_the_classes_in_random_order():
    episodes = draw(Sharing("linear"), n_episodes=2000)
    assert (np.sort(episodes.n_support, 1) == [1, 3, 5, 7, 9]).all()
    for way in range(5):
        assert chisquare(np.bincount(episodes.n_support[:, way])[1::2]).pvalue > 1e-3


def test_random_numbers_are_uniform_given_their_total():
    """3 classes of 3 on average: all 19 triples of 1 to 5 that add up to 9 are equally likely."""
    triples = [t for t in itertools.product(range(1, 6), repeat=3) if sum(t) == 9]
    episodes = draw(Sharing("random"), EpisodeShape(3, 3, 1), n_episodes=3000)
    found = [tuple(numbers) for numbers in episodes.n_support.tolist()]
    assert chisquare([found.count(t) for t in triples]).pvalue > 1e-3
    assert len(triples) == 19


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0, 20.0])
def test_shares_of_the_queries_have_the_dirichlet_distribution(alpha):
    """The share of one class of n is Beta(α, (n - 1) α), up to the rounding to whole numbers of queries."""
    shape = EpisodeShape(4, 1, 250)
    numbers = np.array([Sharing("balanced", alpha).n_query(shape, 0, e) for e in range(1500)])
    assert (numbers.sum(1) == 1000).all()
    least = 1e-3 if alpha >= 1 else 0.0  # near 0, steps are wide beside the density
    for way in range(4):
        jitter = np.random.default_rng(way).uniform(-0.5, 0.5, len(numbers))  # as the whole numbers are steps
        assert kstest((numbers[:, way] + jitter) / 1000, beta(alpha, 3 * alpha).cdf).pvalue > least
        assert numbers[:, way].mean() == pytest.approx(250, rel=0.15)
    expected = 1000 * beta(alpha, 3 * alpha).std()
    assert numbers.std() == pytest.approx(expected, rel=0.1)


def test_a_class_may_have_no_query_and_a_large_alpha_makes_them_equal():
    assert draw(Sharing("balanced", 0.1)).n_query.min() == 0
    assert (draw(Sharing("balanced", 1e6)).n_query == 15).mean() > 0.9
    tiny = draw(Sharing("balanced", 1e-6)).n_query
    assert sorted(np.unique(tiny).tolist()) == [0, 75]


def plainly(shares, total):
    """To the nearest whole numbers; then the numbers that were nearest to a half are moved until the total is right."""
    exact = np.array(shares) * total
    numbers = np.floor(exact + 0.5)
    while numbers.sum() != total:
        step = 1 if numbers.sum() < total else -1
        numbers[np.argmax((exact - numbers) * step)] += step
    return numbers.astype(int).tolist()


def test_whole_numbers_are_those_of_rounding_and_repairing(fresh_seed):
    rng = np.random.default_rng(fresh_seed)
    for _ in range(300):
        shares = rng.dirichlet(np.full(int(rng.integers(2, 12)), rng.uniform(0.2, 5)))
        total = int(rng.integers(1, 200))
        assert whole(shares.tolist(), total) == plainly(shares, total)


@pytest.mark.parametrize(
    ("sharing", "shape", "message"),
    [
        (Sharing("linear"), EpisodeShape(5, 1, 15), "--support-balance linear needs --n-support of at least 2"),
        (Sharing("linear"), EpisodeShape(7, 2, 15), "n_way is 7, but there are only 6 classes"),
    ],
)
def test_numbers_that_cannot_be(sharing, shape, message):
    with pytest.raises(UsageError, match=message):
        draw(sharing, shape)


def test_a_class_that_may_have_to_give_more_than_it_has():
    message = (
        r"class 'd' has 99 images \(and 1 more .*, one of an episode may have to give 109 \(9 support \+ 100 query\)"
    )
    with pytest.raises(DataError, match=message):
        draw(Sharing("linear", 2.0), EpisodeShape(5, 5, 20), class_names="abcdef")


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf"), 1e-7])
def test_an_alpha_that_is_none(alpha):
    with pytest.raises(UsageError, match=r"--query-alpha is .*; it must be above 0, from 0.000001 to 1,000,000"):
        Sharing("balanced", alpha)


def test_a_balance_that_is_none():
    with pytest.raises(UsageError, match="--support-balance is 'linaer'; balanced, linear or random"):
        Sharing("linaer")
