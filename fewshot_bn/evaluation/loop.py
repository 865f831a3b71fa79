"""Run an adapter over episodes, chunk by chunk. No printing and no files: a generator of what happened.

A chunk is the batch of episodes that the adapter sees at once. Its size changes the speed, not the answer (beyond
rounding); neither does the executor, which says where chunks are worked on.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters import Adapter, Fit
from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import UsageError, is_out_of_memory
from fewshot_bn.evaluation.memory import Portion, choose_portion, halved
from fewshot_bn.evaluation.metrics import NOTHING, measured
from fewshot_bn.inputs.images import normalise
from fewshot_bn.inputs.source import Source
from fewshot_bn.runtime import exact_convolutions, in_plain_torch


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a chunk of episodes: correct queries, convergence and steps of each, and the seconds of all.

    `measures` are further values by name, one for each episode: those of the metrics (metrics.py), `predicted`, the
    place in the episode of the class that each query is taken for (-1 where its scores were not finite), and what the
    adapter has to say.
    """

    correct: tuple[int, ...]
    converged: tuple[bool, ...]
    steps: tuple[int, ...]
    seconds: float
    measures: Mapping[str, tuple[Any, ...]]


Work = Callable[[Source, Episodes, Portion], Iterator[Outcome]]


@runtime_checkable
class Executor(Protocol):
    """Does `work` on all the episodes, in parts of at most a portion, and yields what comes of it in their order."""

    def __call__(self, work: Work, source: Source, episodes: Episodes, portion: Portion) -> Iterator[Outcome]: ...


def serial(work: Work, source: Source, episodes: Episodes, portion: Portion) -> Iterator[Outcome]:
    """One after another, here."""
    yield from work(source, episodes, portion)


@in_plain_torch
def evaluate(
    adapter: Adapter, source: Source, episodes: Episodes, *, chunk: int | None = None, executor: Executor = serial
) -> Iterator[Outcome]:
    """Adapt to every episode and classify its queries; yields one `Outcome` a chunk, in order.

    Features of the episodes' rows that are not known yet are computed first. Raises `DataError` or `UsageError` for
    episodes that are not of the source's dataset. An episode whose scores are not all finite
    counts as wrong on every query, as not converged, and to metrics of scores as if all its classes had equal ones.
    Where memory runs out, the chunk is halved, then the number of images at once, and the run goes on.
    """
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk is {chunk}; it must be at least 1")
    if not len(episodes):
        return
    dataset = source.images.dataset
    dataset.check_rows(np.concatenate([episodes.support.ravel(), episodes.query.ravel()]))
    episodes.check(dataset.labels)
    n_support, n_query = episodes.support[0].size, episodes.query[0].size
    portion = choose_portion(adapter, source.backbone, source.device, n_support=n_support, n_query=n_query)
    portion = replace(portion, episodes=chunk or portion.episodes)
    if adapter.takes == "features":
        for _ in source.features.compute(episodes.rows):
            pass
        executor = serial  # milliseconds a chunk

    def work(source: Source, part: Episodes, portion: Portion) -> Iterator[Outcome]:
        yield from _evaluate(adapter, source, part, portion)

    yield from executor(work, source, episodes, portion)


def _evaluate(adapter: Adapter, source: Source, episodes: Episodes, portion: Portion) -> Iterator[Outcome]:
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
    measures = measured("episodes", logits, predicted, y_q)
    if taken := sorted(fit.measures.keys() & {*measures, "predicted"}):
        raise UsageError(f"the adapter calls a measure {taken[0]!r}, as a metric is called; give it another name")
    correct, converged, steps = (tuple(values.tolist()) for values in (right.sum(1), fit.converged & finite, fit.steps))
    plain = {name: tuple(_rounded(values)) for name, values in {**measures, **fit.measures}.items()}
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
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
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
