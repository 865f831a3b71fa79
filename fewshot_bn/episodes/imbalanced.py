"""Random episodes whose images are not shared equally by their classes, while way and totals are fixed.

Support, of n_way * n_support images with 1 to 2 n_support - 1 of each class, so n_support on average:
    linear  as many as an arithmetic progression from the least to the most says, in random order of the classes
    random  each number equally likely, given that total
Queries, of n_way * n_query images: the shares of the classes are Dirichlet(α, …, α); they become whole numbers by the
largest remainders. A class may have no query. α = 1 makes all shares equally likely, a large α makes them equal.

Only the numbers are drawn here. Which classes and images they are is as in sampling.py: with one seed, the images of a
class are the front and the back of the same order, whatever the numbers.

Sources: Ochal et al. 2021, "Few-shot learning with class imbalance", arXiv:2101.02523, section 3 (linear and random;
there the total of random ones varies); Veilleux et al. 2021, "Realistic evaluation of transductive few-shot learning",
arXiv:2204.11181, section 3 (α = 2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot_bn import rng
from fewshot_bn.episodes.episode import Episodes, EpisodeShape, stacked
from fewshot_bn.episodes.sampling import check_list, check_sizes
from fewshot_bn.errors import UsageError

BALANCES = ("balanced", "linear", "random")
LEAST_ALPHA, MOST_ALPHA = 1e-6, 1e6
ROUNDED = 0.49  # is rounded to nothing
AT_ONCE = 256  # trials

Numbers = tuple[Sequence[int], Sequence[int]]  # of support images and of queries, class by class


@dataclass(frozen=True, slots=True)
class Sharing:
    """How images are shared by the classes of an episode; queries equally without `query_alpha`."""

    support: str = "balanced"
    query_alpha: float | None = None

    def __post_init__(self) -> None:
        if self.support not in BALANCES:
            raise UsageError(f"--support-balance is {self.support!r}; {', '.join(BALANCES[:-1])} or {BALANCES[-1]}")
        if self.query_alpha is not None and not LEAST_ALPHA <= self.query_alpha <= MOST_ALPHA:
            raise UsageError(
                f"--query-alpha is {self.query_alpha:g}; it must be above 0, from {LEAST_ALPHA:f} to {MOST_ALPHA:,.0f}"
            )

    @property
    def is_equal(self) -> bool:
        return self == EQUAL

    def most(self, shape: EpisodeShape) -> EpisodeShape:
        """The most support images, and the most queries, that a class of an episode can have."""
        return EpisodeShape(
            shape.n_way,
            shape.n_support if self.support == "balanced" else 2 * shape.n_support - 1,
            shape.n_query if self.query_alpha is None else shape.n_way * shape.n_query,
        )

    def n_support(self, shape: EpisodeShape, seed: int, e: int) -> list[int]:
        """Support images of each class of episode `e`."""
        if self.support == "random":
            return _random(shape, seed, e)
        if self.support == "linear":
            numbers = linear(shape)
            return [numbers[place] for place in rng.permutation(shape.n_way, seed, "shots", e)]
        return [shape.n_support] * shape.n_way

    def n_query(self, shape: EpisodeShape, seed: int, e: int) -> list[int]:
        """Queries of each class of episode `e`."""
        if self.query_alpha is None:
            return [shape.n_query] * shape.n_way
        logs = rng.log_gammas(self.query_alpha, shape.n_way, seed, "query shares", e)
        weights = [math.exp(log - max(logs)) for log in logs]
        return whole([weight / math.fsum(weights) for weight in weights], shape.n_way * shape.n_query)


EQUAL = Sharing()


def sample_imbalanced(
    class_sizes: Sequence[int],
    shape: EpisodeShape,
    sharing: Sharing,
    *,
    seed: int,
    n_episodes: int,
    class_names: Sequence[str] | None = None,
) -> Episodes:
    """As `sample`; the numbers of `shape` are those of a class on average.

    Raises `DataError` where a class has fewer images than it may have to give.
    """
    names = class_names or [str(k) for k in range(len(class_sizes))]
    check_list(len(class_sizes), shape.n_way, seed=seed, n_episodes=n_episodes)
    if sharing.support != "balanced" and shape.n_support == 1:
        raise UsageError(
            f"--support-balance {sharing.support} needs --n-support of at least 2: every class has at least 1 image"
        )
    most = sharing.most(shape)
    needed = most.n_support + most.n_query
    check_sizes(
        class_sizes,
        needed,
        f"one of an episode may have to give {needed} ({most.n_support} support + {most.n_query} query); lower "
        "--n-support or --n-query, or leave --support-balance and --query-alpha out",
        class_names=names,
    )
    classes, support, query = [], [], []
    for e in range(n_episodes):
        own = rng.permutation(len(class_sizes), seed, "classes", e)[: shape.n_way].tolist()
        numbers = sharing.n_support(shape, seed, e), sharing.n_query(shape, seed, e)
        rows = images(class_sizes, own, numbers, (seed, e))
        classes.append(own)
        support.append(rows[0])
        query.append(rows[1])
    return stacked(classes, support, query)


def images(
    class_sizes: Sequence[int], classes: Sequence[int], numbers: Numbers, place: tuple[int, int]
) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of the support images and of the queries of each class, of the episode at `place`: a seed and a number."""
    (seed, e), (n_support, n_query) = place, numbers
    first_row = np.concatenate([[0], np.cumsum(class_sizes)])
    orders = [first_row[k] + rng.permutation(class_sizes[k], seed, "images", e, k) for k in classes]
    support = [order[:n].tolist() for order, n in zip(orders, n_support, strict=True)]
    return support, [order[::-1][:n].tolist() for order, n in zip(orders, n_query, strict=True)]


def linear(shape: EpisodeShape) -> list[int]:
    """Evenly spaced from 1 to 2 n_support - 1, to the nearest whole number; the ends reach half a step further out.

    So with as many classes as numbers, each number occurs once. Pairs from both ends add up to 2 n_support.
    """
    ends = 1 - ROUNDED, 2 * shape.n_support - 1 + ROUNDED
    lower = [round(number) for number in np.linspace(*ends, shape.n_way)[: shape.n_way // 2].tolist()]
    middle = [shape.n_support] if shape.n_way % 2 else []
    return [*lower, *middle, *(2 * shape.n_support - number for number in reversed(lower))]


def _random(shape: EpisodeShape, seed: int, e: int) -> list[int]:
    """Independent and uniform, drawn anew until the total is right."""
    n_way, n_most, trial = shape.n_way, 2 * shape.n_support - 1, 0
    while True:
        u = rng.uniforms(AT_ONCE * n_way, seed, "random shots", e, trial).reshape(AT_ONCE, n_way)
        numbers = 1 + np.floor(u * n_most).astype(np.int64)
        right = (numbers.sum(1) == n_way * shape.n_support).nonzero()[0]
        if len(right):
            return [int(n) for n in numbers[right[0]]]
        trial += 1


def whole(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers nearest to these shares of `total`, and of that sum: those with the largest remainders go up."""
    exact = [share * total for share in shares]
    numbers = [math.floor(number) for number in exact]
    by_remainder = sorted(range(len(shares)), key=lambda k: numbers[k] - exact[k])
    for k in by_remainder[: total - sum(numbers)]:
        numbers[k] += 1
    return numbers
