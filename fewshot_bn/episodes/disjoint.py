"""Episodes that share no image: independent draws from the data, of which there are few.

How many exist: class k has room for c_k = floor(size_k / images per episode and class) episodes, and an episode needs
n_way different classes. E episodes exist exactly if the sum of min(c_k, E) over the classes is at least n_way * E.

The list is drawn whole, so that a part of it is always the front of the same list. Classes are drawn episode by episode
in random order; when the classes with the most room would otherwise be left with room that nobody can use, as many of
them as that takes come first. The episodes are then put in random order, so that their front is like the rest.

Source: Lafargue et al. 2024, TMLR, on what the usual interval over re-used images speaks of.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn import rng
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.errors import DataError


def n_disjoint(class_sizes: Sequence[int], shape: EpisodeShape) -> int:
    """The largest number of episodes of which no two share an image."""
    room = _room(class_sizes, shape)
    low, high = 0, int(room.sum()) // shape.n_way
    while low < high:
        middle = (low + high + 1) // 2
        fits = int(np.minimum(room, middle).sum()) >= shape.n_way * middle
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def sample_disjoint(
    class_sizes: Sequence[int], shape: EpisodeShape, *, seed: int, n_episodes: int | None = None
) -> Episodes:
    """The first `n_episodes`, or all, of the disjoint episodes that (class sizes, shape, seed) stand for.

    Raises `DataError` where fewer exist.
    """
    rng.check_seed(seed)
    most = n_disjoint(class_sizes, shape)
    if most < max(1, n_episodes or 1):
        raise DataError(
            f"{most} disjoint episodes exist at {shape.n_way}-way {shape.n_support}-shot {shape.n_query}-query; "
            + ("lower --n-episodes" if most else "lower --n-way, --n-support or --n-query")
        )
    classes = _classes(_room(class_sizes, shape), shape.n_way, most, seed)
    first_row = np.concatenate([[0], np.cumsum(class_sizes)])
    per_class = shape.n_support + shape.n_query
    rows = np.empty((most, shape.n_way, per_class), np.int64)
    for k, size in enumerate(class_sizes):
        used = classes == k
        order = first_row[k] + rng.permutation(size, seed, "disjoint images", k)
        rows[used] = order[: int(used.sum()) * per_class].reshape(-1, per_class)
    return Episodes(classes, rows[..., : shape.n_support], rows[..., shape.n_support :])[: n_episodes or most]


def _room(class_sizes: Sequence[int], shape: EpisodeShape) -> Int64[ndarray, "k"]:
    return np.array(class_sizes, np.int64) // (shape.n_support + shape.n_query)


def _classes(room: Int64[ndarray, "k"], n_way: int, n_episodes: int, seed: int) -> Int64[ndarray, "e way"]:
    """Different classes for every episode, class k at most room[k] times."""
    classes = np.empty((n_episodes, n_way), np.int64)
    for e in range(n_episodes):
        left = n_episodes - e
        order = rng.permutation(len(room), seed, "disjoint classes", e)
        order = order[room[order] > 0]
        full = room[order] >= left  # has room in every episode that is left, and loses some when it is passed over
        spare = int(np.minimum(room, left).sum()) - n_way * left
        n_first = max(0, int(full.sum()) - spare)
        first = order[full][:n_first]
        rest = order[~np.isin(order, first)]
        classes[e] = np.concatenate([first, rest])[:n_way]
        room = room - np.isin(np.arange(len(room)), classes[e])
    in_random_order: Int64[ndarray, "e way"] = classes[rng.permutation(n_episodes, seed, "disjoint order")]
    return in_random_order
