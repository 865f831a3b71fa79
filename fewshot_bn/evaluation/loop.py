"""Run an adapter over episodes, chunk by chunk. No printing and no files: a generator of what happened.

A chunk is the batch of episodes that the adapter sees at once. Its size changes the speed, not the answer (beyond
rounding).
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters import Adapter, Fit
from fewshot_bn.episodes import Episodes
from fewshot_bn.evaluation.memory import OUT_OF_MEMORY, Portion, choose_portion, halved
from fewshot_bn.evaluation.metrics import calibration_gaps, negative_log_likelihood
from fewshot_bn.inputs.images import normalise
from fewshot_bn.inputs.source import Source
from fewshot_bn.runtime import exact_convolutions

logger = logging.getLogger(__name__)

NOTHING = -1  # is predicted where scores are not finite


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a chunk of episodes: correct queries, convergence and steps of each, and the seconds of all.

    `measures` are further values by name, one for each episode: `nll` and `gaps` (see calibration.py), `predicted`, the
    place in the episode of the class that each query is taken for (-1 where its scores were not finite), and what the
    adapter has to say.
    """

    correct: tuple[int, ...]
    converged: tuple[bool, ...]
    steps: tuple[int, ...]
    seconds: float
    measures: Mapping[str, tuple[Any, ...]]


def evaluate(adapter: Adapter, source: Source, episodes: Episodes, *, chunk: int | None = None) -> Iterator[Outcome]:
    """Adapt to every episode and classify its queries; yields one `Outcome` a chunk, in order.

    An episode whose scores are not all finite counts as wrong on every query, as not converged, and for its calibration
    as if all its classes had equal scores. Where memory runs out, the chunk is halved, then the number of images at
    once, and the run goes on.
    """
    portion = choose_portion(adapter, source, episodes.support[0].size, episodes.query[0].size)
    yield from evaluate_portions(adapter, source, episodes, replace(portion, episodes=chunk or portion.episodes))


def evaluate_portions(adapter: Adapter, source: Source, episodes: Episodes, portion: Portion) -> Iterator[Outcome]:
    """`evaluate` with the first portion given."""
    start = 0
    while start < len(episodes):
        began = time.perf_counter()
        part = episodes[start : start + portion.episodes]
        fit = _fit_in_memory(adapter, source, part, portion.images)
        if fit is None:
            portion = halved(Portion(len(part), portion.images), source.device)
            continue
        yield _outcome(fit, _labels(part.query).to(source.device), began)
        start += len(part)


def _outcome(fit: Fit, y_q: Int64[Tensor, "e q"], began: float) -> Outcome:
    finite = fit.logits.isfinite().all((1, 2))
    predicted = torch.where(finite[:, None], fit.logits.argmax(-1), NOTHING)
    right = predicted == y_q
    logits = torch.where(finite[:, None, None], fit.logits, 0)
    measures = {"nll": negative_log_likelihood(logits, y_q), "gaps": calibration_gaps(logits, y_q), **fit.measures}
    correct, converged, steps = (tuple(values.tolist()) for values in (right.sum(1), fit.converged & finite, fit.steps))
    plain = {name: tuple(_rounded(values)) for name, values in measures.items()}
    plain["predicted"] = tuple(predicted.tolist())
    return Outcome(correct, converged, steps, time.perf_counter() - began, plain)


def _rounded(values: Float[Tensor, "e *size"]) -> list[Any]:
    """Seven significant digits, those of float32, which keep result files short; None for what is not finite."""
    if values.ndim > 1:
        return [_rounded(value) for value in values]
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values.tolist()]


def _fit_in_memory(adapter: Adapter, source: Source, episodes: Episodes, images: int) -> Fit | None:
    """None where memory has run out. Nothing of the failed attempt is alive when this returns."""
    try:
        with exact_convolutions():
            return _fit(adapter, source, episodes, images)
    except MemoryError:
        return None
    except RuntimeError as problem:
        if not isinstance(problem, torch.OutOfMemoryError) and not any(sign in str(problem) for sign in OUT_OF_MEMORY):
            raise
    return None


def _fit(adapter: Adapter, source: Source, episodes: Episodes, images: int) -> Fit:
    y_s = _labels(episodes.support).to(source.device)
    support, query = episodes.support.reshape(len(episodes), -1), episodes.query.reshape(len(episodes), -1)
    if adapter.takes == "features":
        return adapter(source.features.gather(support), y_s, source.features.gather(query))
    x_s, x_q = _pixels(source, support), _pixels(source, query)
    return adapter(source.backbone, x_s, y_s, x_q, seeds=episodes.seeds, images_at_once=images)


def _labels(rows: Int64[ndarray, "e way n"]) -> Int64[Tensor, "e wayn"]:
    n_episodes, n_way, n = rows.shape
    return torch.arange(n_way).repeat_interleave(n).expand(n_episodes, -1).contiguous()


def _pixels(source: Source, rows: Int64[ndarray, "e n"]) -> Float[Tensor, "e n 3 h w"]:
    pixels = source.images.gather(rows.ravel(), source.device)
    x = normalise(pixels, source.images.preprocessing, source.device)
    return x.reshape(*rows.shape, *x.shape[1:])
