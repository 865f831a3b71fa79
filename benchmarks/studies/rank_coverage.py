"""How often bootstrap intervals of a ranking hold the true tau-b: the figures of docs/ranking.md.

    python -m benchmarks.studies.rank_coverage

In each simulated set of backbones, their scores by the reference and by two proxies are normal, with correlations of
0.9 and 0.7 and a standard deviation of 1. Episodes are as easy or hard for all, and add noise, of which a mean has the
standard error of the table. What intervals over backbones and over both should hold is tau of the normal distribution,
2 / pi asin(correlation); what those over episodes should hold is tau-b of the scores without noise. About 2 minutes of
one core.

Source: Kruskal 1958, "Ordinal measures of association".
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.stats import kendalltau

from fewshot_bn.results.agreement import TAU
from fewshot_bn.results.ranks import Interval, rank
from fewshot_bn.results.resampling import Bootstrap
from fewshot_bn.results.statistics import Estimate
from fewshot_bn.results.tasks import Task
from fewshot_bn.rng import uniforms

CORRELATIONS = {"close": 0.9, "loose": 0.7}
N_EPISODES, N_SAMPLES, N_SETS = 50, 400, 300
WITHOUT_NOISE = 1e-4  # as standard error
CASES = [(n, WITHOUT_NOISE) for n in (5, 8, 12, 20, 40)] + [(n, error) for n in (12, 20) for error in (0.1, 0.28)]


class Held(NamedTuple):
    """Shares of the sets whose interval over backbones, episodes and both held the truth, and the mean widths."""

    shares: Float64[ndarray, "3"]
    widths: Float64[ndarray, "3"]


def normal(n: int, *path: str | int) -> Float64[ndarray, "n"]:
    """Of mean 0 and variance 1 (Box and Muller 1958)."""
    u1, u2 = uniforms(2 * n, 0, "rank coverage", *path).reshape(2, n)
    return np.sqrt(-2 * np.log(u1)) * np.cos(2 * np.pi * u2)


def scores_of(n_backbones: int, number: int) -> Float64[ndarray, "3 n"]:
    """Without noise, by the reference and the proxies, in one set of backbones."""
    reference, *own = (normal(n_backbones, "scores", n_backbones, number, mode) for mode in range(3))
    others = [r * reference + np.sqrt(1 - r**2) * one for r, one in zip(CORRELATIONS.values(), own, strict=True)]
    return np.stack([reference, *others])


def task_of(scores: Float64[ndarray, "3 n"], error: float, number: int) -> Task:
    """The set as it is measured on episodes."""
    n = scores.shape[1]
    noise = normal(3 * n * N_EPISODES, "noise", n, number).reshape(3, n, N_EPISODES) + normal(
        N_EPISODES, "easy", number
    )
    values = scores[:, :, None] + error * np.sqrt(N_EPISODES) * noise
    means = [tuple(Estimate(float(mean), error, N_EPISODES) for mean in row) for row in values.mean(-1)]
    estimates = dict(zip(["reference", *CORRELATIONS], means, strict=True))
    return Task("set", "few-shot", tuple(f"b{b}" for b in range(n)), estimates, values, f"set {number}")


def held(n_backbones: int, error: float, n_sets: int) -> dict[str, Held]:
    """By proxy, of so many sets."""
    found: dict[str, list[list[tuple[bool, float]]]] = {mode: [] for mode in CORRELATIONS}
    for number in range(n_sets):
        scores = scores_of(n_backbones, number)
        task = task_of(scores, error, number)
        (ranking,) = rank([task], "accuracy", None, Bootstrap(N_SAMPLES, number))
        for place, (mode, correlation) in enumerate(CORRELATIONS.items(), 1):
            said, tau = ranking.proxies[mode][TAU], 2 / np.pi * np.arcsin(correlation)
            truths = tau, float(kendalltau(scores[place], scores[0]).statistic), tau
            intervals = said.over_backbones, said.over_units, said.over_both
            found[mode].append([_is_in(*one) for one in zip(truths, intervals, strict=True)])
    return {mode: Held(*np.array(sets, dtype=np.float64).mean(0).T) for mode, sets in found.items()}


def _is_in(truth: float, interval: Interval | None) -> tuple[bool, float]:
    if interval is None:
        raise ValueError("a set has too few backbones for an interval")
    low, high = interval
    return low - 1e-9 <= truth <= high + 1e-9, high - low


def report(n_sets: int) -> Iterator[str]:
    yield "| backbones | standard error | correlation | over backbones | over episodes | over both | mean widths |"
    yield "|---|---|---|---|---|---|---|"
    for n_backbones, error in CASES:
        for mode, (shares, widths) in held(n_backbones, error, n_sets).items():
            cells = [f"{100 * share:.0f} %" for share in shares]
            where = [str(n_backbones), "0" if error == WITHOUT_NOISE else f"{error:g}", f"{CORRELATIONS[mode]:g}"]
            yield f"| {' | '.join([*where, *cells, ', '.join(f'{width:.2f}' for width in widths)])} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=N_SETS, help="of backbones, for each line; default: %(default)s")
    for line in report(parser.parse_args(argv).sets):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
