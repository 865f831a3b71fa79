"""Episodes that keep groups together: no lesion or patient on both sides of an episode, and none twice where possible.

The random orders are those of `sample`, walked from the front for support images and from the back for queries; an
image is passed over when its group is in the episode already. Only when a class has no new group left, another image
of a group on the same side is taken. Queries are taken first, then the first support image of every class, small
classes before large ones, then the second: so queries are the same for every number of shots, and the 1-shot support
lies inside the 5-shot support.

Shapes: groups [n], the number of each row's group; episodes as in episode.py.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn import rng
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.episodes.sampling import check_fit
from fewshot_bn.errors import DataError

SUPPORT, QUERY = "support", "query"


def sample_by_group(
    class_sizes: Sequence[int],
    groups: Int64[ndarray, "n"],
    shape: EpisodeShape,
    *,
    seed: int,
    n_episodes: int,
    class_names: Sequence[str] | None = None,
) -> Episodes:
    """As `sample`. Raises `DataError` where the groups of a class are too few for an episode."""
    names = class_names or [str(k) for k in range(len(class_sizes))]
    check_fit(class_sizes, shape, seed=seed, n_episodes=n_episodes, class_names=names)
    first_row = np.concatenate([[0], np.cumsum(class_sizes)])
    classes, support, query = [], [], []
    for e in range(n_episodes):
        classes.append(rng.permutation(len(class_sizes), seed, "classes", e)[: shape.n_way])
        orders = [first_row[k] + rng.permutation(class_sizes[k], seed, "images", e, k) for k in classes[-1].tolist()]
        episode = _Episode([order.tolist() for order in orders], groups)
        try:
            query.append(episode.take(QUERY, shape.n_query))
            support.append(episode.take(SUPPORT, shape.n_support))
        except _NoneLeftError as problem:
            k = classes[-1][problem.way]
            n_groups = len(np.unique(groups[first_row[k] : first_row[k + 1]]))
            raise DataError(
                f"class {names[k]!r} has {class_sizes[k]} images of {n_groups} groups, too few to keep groups apart in "
                f"episode {e}: {shape.n_support} support and {shape.n_query} query images are needed, and no group on "
                "both sides; lower --n-support or --n-query"
            ) from problem
    return Episodes(np.stack(classes), np.array(support, np.int64), np.array(query, np.int64))


class _NoneLeftError(Exception):
    """A class has no image left that may be taken."""

    def __init__(self, way: int) -> None:
        super().__init__(way)
        self.way = way


class _Episode:
    """One episode while its images are taken: on which side each group is, and which rows are taken."""

    def __init__(self, orders: Sequence[Sequence[int]], groups: Int64[ndarray, "n"]) -> None:
        self._orders, self._groups = orders, groups
        self._ways = sorted(range(len(orders)), key=lambda way: len(orders[way]))  # small classes choose first
        self._side_of: dict[int, str] = {}
        self._taken: set[int] = set()

    def take(self, side: str, n: int) -> list[list[int]]:
        """`n` rows of each class for this side: the first of every class, then the second, and so on."""
        rows: list[list[int]] = [[] for _ in self._orders]
        orders = self._orders if side == SUPPORT else [order[::-1] for order in self._orders]
        for _ in range(n):
            for way in self._ways:
                row = self._next(orders[way], side)
                if row is None:
                    raise _NoneLeftError(way)
                rows[way].append(row)
                self._taken.add(row)
                self._side_of[int(self._groups[row])] = side
        return rows

    def _next(self, order: Sequence[int], side: str) -> int | None:
        for row in order:
            if int(self._groups[row]) not in self._side_of:
                return row
        for row in order:
            if row not in self._taken and self._side_of[int(self._groups[row])] == side:
                return row
        return None
