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
from fewshot_bn.backbones import Backbone, exact_convolutions
from fewshot_bn.calibration import calibration_gaps, negative_log_likelihood
from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import DeviceError, UsageError
from fewshot_bn.features import Features
from fewshot_bn.images import Images, normalise

logger = logging.getLogger(__name__)

MOST_EPISODES = {"cpu": 64, "cuda": 256}  # for a tuner; for a probe it is MOST_PROBED
MOST_PROBED = {"cpu": 128, "cuda": 1024}
FEATURE_BYTES = {"cpu": 2**26, "cuda": 2**31}  # of a chunk of episodes
CPU_BYTES = 5 * 2**27
CUDA_SHARE = 0.7  # of the free memory; the rest is for what a step needs besides
HOST_BYTES = 2**29
NOTHING = -1  # is predicted where scores are not finite
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED")  # besides OutOfMemoryError


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that turns dataset rows into what an adapter takes."""

    images: Images
    backbone: Backbone
    features: Features
    device: torch.device


@dataclass(frozen=True, slots=True)
class Portion:
    """How many episodes are adapted at once, and how many images of each go through the network together."""

    episodes: int
    images: int


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


def choose_devices(names: str) -> list[torch.device]:
    """One or several devices by name, or `all` CUDA devices. Raises `DeviceError` for one that is not there."""
    if names == "all":
        names = ",".join(f"cuda:{index}" for index in range(torch.cuda.device_count())) or "cuda"
    return [choose_device(name.strip()) for name in names.split(",")]


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one. Raises `DeviceError` for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise UsageError(f"unknown device {name!r}; choose from: auto, cpu, cuda, cuda:<index>") from problem
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:") or len(name) > len("cuda:99"):
        raise UsageError(f"unknown device {name!r}; choose from: auto, cpu, cuda, cuda:<index>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n = torch.cuda.device_count()
        raise DeviceError(f"device {name!r} is not there: {n} CUDA devices found; use --device auto or --device cpu")
    return device


def choose_portion(adapter: Adapter, source: Source, n_support: int, n_query: int) -> Portion:
    """As much as memory holds: for a probe by the size of its features, for a tuner by a trial with two images.

    `n_support` and `n_query` count the images of an episode. Measured on CPUs: larger batches are faster up to about
    that bound; on a GPU until its memory is full.
    """
    if adapter.takes == "features":
        kind, per_episode = source.device.type, 4 * (n_support + n_query) * source.backbone.dim
        return Portion(max(1, min(MOST_PROBED[kind], FEATURE_BYTES[kind] // per_episode)), n_support)
    image_bytes = 3 * source.images.preprocessing.crop_px**2
    per_image = max(1, adapter.bytes_per_image(source.backbone))
    together = adapter.images_together(n_support, n_query)
    per_episode = together * per_image + 4 * (n_support + n_query) * image_bytes
    room = _cuda_room(source.device) if source.device.type == "cuda" else CPU_BYTES
    most = MOST_EPISODES[source.device.type]
    episodes = min(most, room // per_episode, HOST_BYTES // ((n_support + n_query) * image_bytes))
    return Portion(max(1, episodes), max(1, min(together, room // per_image)))


def _cuda_room(device: torch.device) -> int:
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for us
    return int(CUDA_SHARE * (torch.cuda.mem_get_info(device)[0] + held))


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
            portion = _halved(Portion(len(part), portion.images), source.device)
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


def _halved(portion: Portion, device: torch.device) -> Portion:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if portion.episodes == portion.images == 1:
        raise DeviceError(
            f"{device}: out of memory with a single episode; take smaller images (--image-size), fewer support images "
            "or a smaller batch_size"
        )
    if portion.episodes > 1:
        logger.warning("%s: out of memory with %d episodes at once; going on with half", device, portion.episodes)
        return replace(portion, episodes=portion.episodes // 2)
    logger.warning("%s: out of memory with %d images at once; going on with half", device, portion.images)
    return replace(portion, images=portion.images // 2)


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
