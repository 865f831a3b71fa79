"""Run an adapter over episodes, chunk by chunk. No printing and no files: a generator of what happened.

A chunk is the batch of episodes that the adapter sees at once. Its size changes the speed, not the answer (beyond
rounding).
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters import Adapter, Fit
from fewshot_bn.backbones import Backbone, exact_convolutions
from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import DeviceError, UsageError
from fewshot_bn.features import Features
from fewshot_bn.images import Images, normalise

logger = logging.getLogger(__name__)

MOST_EPISODES = 64
CPU_BYTES = 2**29
CUDA_SHARE = 0.7  # of the free memory; the rest is for what a step needs besides
HOST_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that turns dataset rows into what an adapter takes."""

    images: Images
    backbone: Backbone
    features: Features
    device: torch.device


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a chunk of episodes: correct queries, convergence and steps of each, and the seconds of all."""

    correct: tuple[int, ...]
    converged: tuple[bool, ...]
    steps: tuple[int, ...]
    seconds: float


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


def chunk_size(adapter: Adapter, source: Source, n_support: int, n_query: int) -> tuple[int, int]:
    """Episodes at once, and support images of an episode at once, so that memory stays in bounds.

    32 episodes for a probe; for a tuner by a trial with two images. `n_support` and `n_query` count the images of an
    episode. Measured on CPUs: larger batches are faster up to about that bound; on a GPU until its memory is full.
    """
    if adapter.takes == "features":
        return 32, n_support
    image_bytes = 3 * source.images.preprocessing.crop_px**2
    per_image = max(1, adapter.bytes_per_image(source.backbone))
    per_episode = n_support * per_image + 4 * (n_support + n_query) * image_bytes
    room = CPU_BYTES
    if source.device.type == "cuda":
        room = int(CUDA_SHARE * torch.cuda.mem_get_info(source.device)[0])
    at_once = min(MOST_EPISODES, room // per_episode, HOST_BYTES // ((n_support + n_query) * image_bytes))
    return max(1, at_once), max(1, min(n_support, room // per_image))


def evaluate(adapter: Adapter, source: Source, episodes: Episodes, *, chunk: int | None = None) -> Iterator[Outcome]:
    """Adapt to every episode and classify its queries; yields one `Outcome` a chunk, in order.

    An episode whose scores are not all finite counts as wrong on every query and as not converged. Where the memory of
    the device runs out, the chunk is halved, then the number of images at once, and the run goes on.
    """
    measured, images = chunk_size(adapter, source, episodes.support[0].size, episodes.query[0].size)
    chunk = chunk or measured
    start = 0
    while start < len(episodes):
        began = time.perf_counter()
        part = episodes[start : start + chunk]
        fit = _fit_in_memory(adapter, source, part, images)
        if fit is None:
            chunk, images = _halved(len(part), images, source)
            continue
        finite = fit.logits.isfinite().all((1, 2))
        right = (fit.logits.argmax(-1) == _labels(part.query).to(source.device)) & finite[:, None]
        correct, converged, steps = (
            tuple(values.tolist()) for values in (right.sum(1), fit.converged & finite, fit.steps)
        )
        yield Outcome(correct, converged, steps, time.perf_counter() - began)
        start += len(part)


def _fit_in_memory(adapter: Adapter, source: Source, episodes: Episodes, images: int) -> Fit | None:
    """None where the memory of the device has run out. Nothing of the failed attempt is alive when this returns."""
    try:
        with exact_convolutions():
            return _fit(adapter, source, episodes, images)
    except RuntimeError as problem:
        if not isinstance(problem, torch.OutOfMemoryError) and "can't allocate memory" not in str(problem):
            raise
    return None


def _halved(n_episodes: int, images: int, source: Source) -> tuple[int, int]:
    if source.device.type == "cuda":
        torch.cuda.empty_cache()
    if n_episodes == images == 1:
        raise DeviceError(
            f"{source.device}: out of memory with a single episode; take smaller images (--image-size), fewer support "
            "images or a smaller batch_size"
        )
    if n_episodes > 1:
        logger.warning("%s: out of memory with %d episodes at once; going on with half", source.device, n_episodes)
        return n_episodes // 2, images
    logger.warning("%s: out of memory with %d images at once; going on with half", source.device, images)
    return 1, images // 2


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
    pixels = source.images.gather(rows.ravel())
    x = normalise(pixels, source.images.preprocessing, source.device)
    return x.reshape(*rows.shape, *x.shape[1:])
