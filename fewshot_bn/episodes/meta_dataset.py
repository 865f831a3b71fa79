"""Episodes of varying way and shot, by the rule of Meta-Dataset for datasets without a hierarchy of classes.

An episode has 5 to 50 of the classes, or to as many as there are, each number equally likely. With m_c the images of
its class c:
    queries  q = min(10, floor(min m_c / 2)) of each class
    support  n = min(500, Σ_c ceil(β min(100, m_c - q))) in all, β uniform in (0, 1]
    shots    k_c = min(floor(r_c (n - way)) + 1, m_c - q), with r_c in proportion to exp(a_c) m_c, and a_c uniform in
             [log 0.5, log 2)

Which classes and images they are is drawn as in sampling.py. Episode i is a pure function of (class sizes, seed, i).

Source: Triantafillou et al. 2020, "Meta-Dataset: a dataset of datasets for learning to learn from few examples",
arXiv:1903.03096, section 3.2 and appendix.
"""

import math
from collections.abc import Sequence

from fewshot_bn import rng
from fewshot_bn.episodes.episode import Episodes, stacked
from fewshot_bn.episodes.imbalanced import images
from fewshot_bn.episodes.sampling import check_list, check_sizes
from fewshot_bn.errors import DataError

LEAST_WAY, MOST_WAY = 5, 50
MOST_QUERIES = 10  # of a class
MOST_SUPPORT, MOST_OF_CLASS = 500, 100  # images of an episode; of a class, as far as they count for that


def sample_meta_dataset(
    class_sizes: Sequence[int], *, seed: int, n_episodes: int, class_names: Sequence[str] | None = None
) -> Episodes:
    """The first episodes of the endless list. Raises `DataError` where there are too few classes or images."""
    names = class_names or [str(k) for k in range(len(class_sizes))]
    if len(class_sizes) < LEAST_WAY:
        raise DataError(
            f"{len(class_sizes)} classes; --episodes meta-dataset needs at least {LEAST_WAY}; take --episodes random"
        )
    check_list(len(class_sizes), LEAST_WAY, seed=seed, n_episodes=n_episodes)
    why = "--episodes meta-dataset needs 2 (1 support + 1 query); leave the class out, or take --episodes random"
    check_sizes(class_sizes, 2, why, class_names=names)
    classes, support, query = [], [], []
    for e in range(n_episodes):
        u = float(rng.uniforms(1, seed, "way", e)[0])
        n_way = LEAST_WAY + math.floor(u * (min(MOST_WAY, len(class_sizes)) - LEAST_WAY + 1))
        own = rng.permutation(len(class_sizes), seed, "classes", e)[:n_way].tolist()
        beta, *us = rng.uniforms(1 + n_way, seed, "shots", e).tolist()
        numbers = n_images([class_sizes[k] for k in own], beta, [math.log(0.5) + u * math.log(4) for u in us])
        rows = images(class_sizes, own, numbers, (seed, e))
        classes.append(own)
        support.append(rows[0])
        query.append(rows[1])
    return stacked(classes, support, query)


def n_images(sizes: Sequence[int], beta: float, log_weights: Sequence[float]) -> tuple[list[int], list[int]]:
    """Support images and queries of each class of an episode, whose classes have `sizes` images."""
    n_query = min(MOST_QUERIES, min(sizes) // 2)
    left = [size - n_query for size in sizes]
    n_support = min(MOST_SUPPORT, sum(math.ceil(beta * min(MOST_OF_CLASS, n)) for n in left))
    weights = [math.exp(log) * size for log, size in zip(log_weights, sizes, strict=True)]
    whole, spare = math.fsum(weights), n_support - len(sizes)  # each class has an image before they are shared
    shots = [min(math.floor(w / whole * spare) + 1, n) for w, n in zip(weights, left, strict=True)]
    return shots, [n_query] * len(sizes)
