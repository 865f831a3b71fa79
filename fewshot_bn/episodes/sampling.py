"""Random episodes: classes without replacement, and images without replacement within a class.

Episode i is a pure function of (class sizes, shape, seed, i). Within a class, one random order of its images serves
all shapes: support images are taken from its front and queries from its back. So with one seed the 1-shot support
lies inside the 5-shot support, the queries are the same for every number of shots, and shots compare in pairs.
Classes are the front of one random order of all classes, so 5-way episodes lie inside 10-way ones.

Shapes: classes [E way], support [E way n_support], query [E way n_query]; dataset rows, int64.
Source: the protocol of Guo et al. 2020 (CD-FSL), arXiv:1912.07200, section 4.
"""

from collections.abc import Sequence

import numpy as np

from fewshot_bn import rng
from fewshot_bn.episodes.episode import Episodes, EpisodeShape
from fewshot_bn.errors import DataError, UsageError

MAX_EPISODES = 1_000_000


def sample(
    class_sizes: Sequence[int],
    shape: EpisodeShape,
    *,
    seed: int,
    n_episodes: int,
    start: int = 0,
    class_names: Sequence[str] | None = None,
) -> Episodes:
    """Episodes start .. start + n_episodes - 1 of the endless list that (class sizes, shape, seed) stand for.

    `class_sizes[k]` is the number of images of class k, whose rows follow those of class k-1 (the canonical order of a
    `Dataset`). Raises `UsageError` for impossible numbers and `DataError` when a class is too small.
    """
    names = class_names or [str(k) for k in range(len(class_sizes))]
    check_fit(class_sizes, shape, seed=seed, n_episodes=n_episodes, class_names=names)
    first_row = np.concatenate([[0], np.cumsum(class_sizes)])
    n_way, n_support, n_query = shape.n_way, shape.n_support, shape.n_query
    classes = np.empty((n_episodes, n_way), np.int64)
    support = np.empty((n_episodes, n_way, n_support), np.int64)
    query = np.empty((n_episodes, n_way, n_query), np.int64)
    for e in range(n_episodes):
        classes[e] = rng.permutation(len(class_sizes), seed, "classes", start + e)[:n_way]
        for way, k in enumerate(classes[e].tolist()):
            order = first_row[k] + rng.permutation(class_sizes[k], seed, "images", start + e, k)
            support[e, way] = order[:n_support]
            query[e, way] = order[: -n_query - 1 : -1]
    return Episodes(classes, support, query)


def check_fit(
    class_sizes: Sequence[int], shape: EpisodeShape, *, seed: int, n_episodes: int, class_names: Sequence[str]
) -> None:
    """Raise what `sample` raises."""
    check_list(len(class_sizes), shape.n_way, seed=seed, n_episodes=n_episodes)
    needed = shape.n_support + shape.n_query
    check_sizes(
        class_sizes,
        needed,
        f"an episode needs {needed} ({shape.n_support} support + {shape.n_query} query); lower --n-support or "
        "--n-query",
        class_names=class_names,
    )


def check_list(n_classes: int, n_way: int, *, seed: int, n_episodes: int) -> None:
    """Raise `UsageError` where there can be no such list, whatever the sizes of the classes."""
    rng.check_seed(seed)
    if not 1 <= n_episodes <= MAX_EPISODES:
        raise UsageError(f"n_episodes is {n_episodes}; it must be between 1 and {MAX_EPISODES:,}")
    if n_way > n_classes:
        raise UsageError(f"n_way is {n_way}, but there are only {n_classes} classes; lower --n-way")


def check_sizes(class_sizes: Sequence[int], needed: int, why: str, *, class_names: Sequence[str]) -> None:
    """Raise `DataError` where a class has fewer images than `needed`; `why` says what for, and what to do."""
    too_small = [k for k, size in enumerate(class_sizes) if size < needed]
    if too_small:
        smallest = min(too_small, key=lambda k: class_sizes[k])
        others = f" (and {len(too_small) - 1} more classes are too small)" if len(too_small) > 1 else ""
        raise DataError(f"class {class_names[smallest]!r} has {class_sizes[smallest]} images{others}, {why}")
