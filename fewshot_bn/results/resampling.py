"""Backbones and units of tasks drawn anew with replacement, the same ones for all modes and in every run.

Sample i is a function of the seed and i, so the first samples are the same for every number of samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from fewshot_bn.results.measured import Strata
from fewshot_bn.results.tasks import Task
from fewshot_bn.rng import uniforms

N_SAMPLES = 2_000
VALUES_AT_ONCE = 4_000_000
OBSERVED, OVER_BACKBONES, OVER_UNITS, OVER_BOTH = "observed", "over_backbones", "over_units", "over_both"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How many samples are drawn, and their seed."""

    n_samples: int = N_SAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """All samples of a kind: the scores by mode [r b], and how often the backbones are in it [r b]."""

    scores: Mapping[str, Float64[ndarray, "r b"]]
    times: Float64[ndarray, "r b"]


Samples = Mapping[str, Sample]  # by kind; those of units are not there if a task has no values of units


def samples_of(task: Task, bootstrap: Bootstrap) -> Samples:
    """What was observed, and samples of backbones, of units, and of both at once."""
    n, n_backbones = bootstrap.n_samples, len(task.backbones)
    once, observed = np.ones((1, n_backbones)), task.scores[None]
    everyone = [np.arange(n_backbones)]
    drawn = np.stack([_times(everyone, bootstrap.seed, "backbones", i) for i in range(n)])
    kinds = {OBSERVED: (observed, once), OVER_BACKBONES: (observed, drawn)}
    if task.values is not None and task.values.shape[-1] > 1:
        redrawn = _means(task.values, task, bootstrap)
        kinds |= {OVER_UNITS: (redrawn, once), OVER_BOTH: (redrawn, drawn)}
    return {kind: _sample(task.modes, scores, times) for kind, (scores, times) in kinds.items()}


def mean_samples(of_tasks: Sequence[Samples], modes: Sequence[str]) -> Samples:
    """Of the mean scores of tasks with the same backbones, by the kinds of samples that all have."""
    first, *others = of_tasks
    return {
        kind: Sample(
            {mode: np.mean([samples[kind].scores[mode] for samples in of_tasks], axis=0) for mode in modes},
            sample.times,
        )
        for kind, sample in first.items()
        if all(kind in samples for samples in others)
    }


def _sample(modes: Sequence[str], scores: Float64[ndarray, "s m b"], times: Float64[ndarray, "t b"]) -> Sample:
    n = max(len(scores), len(times))
    of_modes = np.broadcast_to(scores, (n, *scores.shape[1:]))
    return Sample(
        {mode: of_modes[:, place] for place, mode in enumerate(modes)}, np.broadcast_to(times, (n, times.shape[1]))
    )


def _means(values: Float64[ndarray, "m b u"], task: Task, bootstrap: Bootstrap) -> Float64[ndarray, "r m b"]:
    """Scores of units drawn anew, jointly for all modes and backbones."""
    n_modes, n_backbones, n_units = values.shape
    strata, by_unit, found = task.strata or [np.arange(n_units)], values.reshape(-1, n_units).T, []
    portion = max(1, VALUES_AT_ONCE // n_units)
    for start in range(0, bootstrap.n_samples, portion):
        stop = min(start + portion, bootstrap.n_samples)
        times = np.stack([_times(strata, bootstrap.seed, "units", task.stream, i) for i in range(start, stop)])
        found.append(times @ by_unit / n_units)
    return np.concatenate(found).reshape(-1, n_modes, n_backbones)


def _times(strata: Strata, seed: int, *path: str | int) -> Float64[ndarray, "n"]:
    """How often each thing is there if as many as a stratum has are drawn from it, with replacement."""
    n = sum(map(len, strata))
    chance = uniforms(n, seed, "rank", *path)
    drawn = [places[(chance[places] * len(places)).astype(np.int64)] for places in strata]
    return np.bincount(np.concatenate(drawn), minlength=n).astype(np.float64)
