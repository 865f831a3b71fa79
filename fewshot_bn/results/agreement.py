"""How alike a proxy and a reference order backbones, in many samples of them at once.

A sample may hold a backbone several times, as a bootstrap sample does: `times` counts, and a backbone is tied with
itself. Scores that differ by no more than rounding are ties. What a sample does not define is NaN here, and None in
whatever is made of it.

Shapes: x, y and times [r b]: the scores of the backbones by proxy and by reference, in r samples.
Source: Kendall 1945, "The treatment of ties in ranking problems" (tau-b); Spearman 1904, "The proof and measurement of
association between two things", with mean ranks of ties; Pearson 1895, "Note on regression and inheritance".
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from fewshot_bn.results.statistics import ROUNDING

TAU, RHO, R, REGRET = "tau", "rho", "r", "regret"
PAIRS_AT_ONCE = 2_000_000
Samples = Float64[ndarray, "r b"]


def agreement(
    x: Float64[ndarray, "r b"], y: Float64[ndarray, "r b"], times: Float64[ndarray, "r b"]
) -> dict[str, Float64[ndarray, "r"]]:
    """Kendall's tau-b, Spearman's rho, Pearson's r and top-1 regret of each sample; higher scores are better.

    The first three are NaN where all backbones of a sample are tied by x or by y.
    """
    portion = max(1, PAIRS_AT_ONCE // x.shape[1] ** 2)
    starts = range(0, len(x), portion)
    parts = [_agreement(*(one[start : start + portion] for one in (x, y, times))) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _agreement(
    x: Float64[ndarray, "r b"], y: Float64[ndarray, "r b"], times: Float64[ndarray, "r b"]
) -> dict[str, Float64[ndarray, "r"]]:
    by_x, by_y = order(x), order(y)
    n_pairs = [_over_pairs(by_x**2, times), _over_pairs(by_y**2, times)]  # that are not tied
    defined = (n_pairs[0] > 0) & (n_pairs[1] > 0)
    ranks = [np.einsum("rij,rj->ri", by, times) for by in (by_x, by_y)]  # twice the distance from the middle rank
    scores = [one - (one * times).sum(1, keepdims=True) / times.sum(1, keepdims=True) for one in (x, y)]
    return {
        TAU: _quotient(_over_pairs(by_x * by_y, times), n_pairs[0], n_pairs[1], where=defined),
        RHO: _cosine(ranks[0], ranks[1], times, where=defined),
        R: _cosine(scores[0], scores[1], times, where=defined),
        REGRET: regret(x, y, times),
    }


def order(x: Float64[ndarray, "r b"]) -> Float64[ndarray, "r b b"]:
    """1 where the first of two backbones scores higher than the second, -1 where lower, 0 for ties."""
    difference = x[:, :, None] - x[:, None, :]
    sign: Float64[ndarray, "r b b"] = np.sign(np.where(np.abs(difference) > ROUNDING, difference, 0.0))
    return sign


def regret(
    x: Float64[ndarray, "r b"], y: Float64[ndarray, "r b"], times: Float64[ndarray, "r b"]
) -> Float64[ndarray, "r"]:
    """The best score by y, less that of the backbone which is best by x: their mean, if several are tied."""
    there = times > 0
    best_by_x = np.where(there, x, -np.inf).max(1, keepdims=True)
    weights = np.where(there & (x >= best_by_x - ROUNDING), times, 0.0)
    chosen = (weights * y).sum(1) / weights.sum(1)
    lost: Float64[ndarray, "r"] = np.maximum(np.where(there, y, -np.inf).max(1) - chosen, 0.0)
    lost[lost <= ROUNDING] = 0.0
    return lost


def ranks_of(x: Float64[ndarray, "b"]) -> Float64[ndarray, "b"]:
    """The place of each score from the highest, 1; the mean place for ties."""
    places: Float64[ndarray, "b"] = (len(x) + 1 - order(x[None])[0].sum(1)) / 2
    return places


def _over_pairs(of_pairs: Float64[ndarray, "r b b"], times: Float64[ndarray, "r b"]) -> Float64[ndarray, "r"]:
    found: Float64[ndarray, "r"] = np.einsum("rij,ri,rj->r", of_pairs, times, times, optimize=True)
    return found


def _cosine(
    a: Float64[ndarray, "r b"], b: Float64[ndarray, "r b"], times: Float64[ndarray, "r b"], *, where: Bool[ndarray, "r"]
) -> Float64[ndarray, "r"]:
    return _quotient((times * a * b).sum(1), (times * a**2).sum(1), (times * b**2).sum(1), where=where)


def _quotient(
    dividend: Float64[ndarray, "r"],
    one: Float64[ndarray, "r"],
    other: Float64[ndarray, "r"],
    *,
    where: Bool[ndarray, "r"],
) -> Float64[ndarray, "r"]:
    """The dividend by the root of the product; NaN elsewhere."""
    found = np.full(len(dividend), np.nan)
    np.divide(dividend, np.sqrt(one * other), out=found, where=where)  # exactly 1 where all three are the same
    return found.clip(-1.0, 1.0)
