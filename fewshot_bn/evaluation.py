"""Run an adapter over episodes, chunk by chunk. No printing and no files: a generator of what happened.

A chunk is the batch of episodes that the adapter sees at once. Its size changes the speed, not the answer (beyond
rounding).
"""

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


def default_chunk(adapter: Adapter, n_images: int, image_px: int, device: torch.device) -> int:
    """Episodes at once: 32 for a probe; for a tuner as many as keep the activations small enough to be fast.

    `n_images` is what an episode weighs: its support images, or a quarter of its query images where that is more.
    """
    if adapter.takes == "features":
        return 32
    pixels = 2**22 if device.type == "cuda" else 2**19  # measured on CPUs: larger batches fall out of the cache
    return max(1, min(16, pixels // (n_images * image_px**2)))


def evaluate(adapter: Adapter, source: Source, episodes: Episodes, *, chunk: int | None = None) -> Iterator[Outcome]:
    """Adapt to every episode and classify its queries; yields one `Outcome` a chunk, in order.

    An episode whose scores are not all finite counts as wrong on every query and as not converged.
    """
    if chunk is None:
        n_images = max(episodes.support[0].size, episodes.query[0].size // 4)
        chunk = default_chunk(adapter, n_images, source.images.preprocessing.crop_px, source.device)
    for start in range(0, len(episodes), chunk):
        began = time.perf_counter()
        part = episodes[start : start + chunk]
        with exact_convolutions():
            fit = _fit(adapter, source, part)
        finite = fit.logits.isfinite().all((1, 2))
        right = (fit.logits.argmax(-1) == _labels(part.query).to(source.device)) & finite[:, None]
        correct, converged, steps = (
            tuple(values.tolist()) for values in (right.sum(1), fit.converged & finite, fit.steps)
        )
        yield Outcome(correct, converged, steps, time.perf_counter() - began)


def _fit(adapter: Adapter, source: Source, episodes: Episodes) -> Fit:
    y_s = _labels(episodes.support).to(source.device)
    support, query = episodes.support.reshape(len(episodes), -1), episodes.query.reshape(len(episodes), -1)
    if adapter.takes == "features":
        return adapter(source.features.gather(support), y_s, source.features.gather(query))
    try:
        return adapter(source.backbone, _pixels(source, support), y_s, _pixels(source, query))
    except torch.OutOfMemoryError as problem:
        raise DeviceError(
            f"{source.device}: out of memory with {len(episodes)} episodes at once; lower --chunk"
        ) from problem


def _labels(rows: Int64[ndarray, "e way n"]) -> Int64[Tensor, "e wayn"]:
    n_episodes, n_way, n = rows.shape
    return torch.arange(n_way).repeat_interleave(n).expand(n_episodes, -1).contiguous()


def _pixels(source: Source, rows: Int64[ndarray, "e n"]) -> Float[Tensor, "e n 3 h w"]:
    pixels = source.images.gather(rows.ravel())
    x = normalise(pixels, source.images.preprocessing, source.device)
    return x.reshape(*rows.shape, *x.shape[1:])
