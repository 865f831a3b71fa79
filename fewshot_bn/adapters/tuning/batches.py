"""What a training step sees of the support sets: all of them, or a random part, as they are or as random views.

Passes over a support set are made of batches without repetition, the last of which may be smaller; each pass has an
order of its own, from the seed of the episode.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn import rng
from fewshot_bn.adapters.tuning.network import EpisodicNetwork, Stem
from fewshot_bn.adapters.tuning.views import augment
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.runtime import in_layout


@dataclass(frozen=True, slots=True)
class Batch:
    """Images as the network's stem gives them, labels, their share of the support set, and whether they end a pass."""

    stem: Stem
    y: Int64[Tensor, "e b"]
    share: float
    ends_pass: bool

    def parts(self, size: int) -> "Iterator[Batch]":
        """The batch in parts of at most `size` images an episode."""
        for start in range(0, self.y.shape[1], size):
            part = slice(start, start + size)
            yield replace(self, stem=tuple(value[:, part] for value in self.stem), y=self.y[:, part])


@runtime_checkable
class Batches(Protocol):
    """What a training goes through: images with labels `y`, of several episodes or of one, in batches without end."""

    @property
    def y(self) -> Int64[Tensor, "e n"]: ...

    def batches(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class Support:
    """The support sets of some episodes and how they are fed to the network."""

    network: EpisodicNetwork
    x: Float[Tensor, "e n 3 h w"]
    stem: Stem
    y: Int64[Tensor, "e n"]
    seeds: Sequence[int]
    batch_size: int
    views: tuple[str, ...]
    preprocessing: Preprocessing

    def batches(self) -> Iterator[Batch]:
        """Batches without end."""
        n = self.y.shape[1]
        for step, order in enumerate(orders(n, self.batch_size, self.seeds, self.y.device)):
            rows = order.places
            y = self.y.gather(1, rows)
            if self.views:
                x = augment(
                    _pick(self.x, rows), self.views, seeds=self.seeds, step=step, preprocessing=self.preprocessing
                )
                values = self.network.stem(x)
            else:
                values = self.stem if rows.shape[1] == n else tuple(_pick(value, rows) for value in self.stem)
            yield Batch(values, y, rows.shape[1] / n, order.ends_pass)


@dataclass(frozen=True, slots=True)
class Order:
    """Which images make a batch, by number, here and on the device, and whether they end a pass."""

    numbers: Int64[ndarray, "e b"]
    places: Int64[Tensor, "e b"]
    ends_pass: bool


def orders(n: int, batch_size: int, seeds: Sequence[int], device: torch.device, *, start: int = 0) -> Iterator[Order]:
    """The batches of n images from batch `start` on, without end. A batch of all images has them in their order.

    What a pass takes travels to the device at once, as a step that waits for a copy would keep a GPU waiting.
    """
    size = min(batch_size or n, n)
    per_pass = math.ceil(n / size)
    passing = np.tile(np.arange(n), (len(seeds), 1))
    places = torch.from_numpy(passing).to(device)
    for epoch in itertools.count(start // per_pass):
        if size < n:
            passing = np.stack([rng.permutation(n, seed, "batches", epoch) for seed in seeds])
            places = torch.from_numpy(passing).to(device)
        first = start % per_pass if epoch == start // per_pass else 0
        for place in range(first * size, n, size):
            part = slice(place, place + size)
            yield Order(passing[:, part], places[:, part], place + size >= n)


def _pick(values: Float[Tensor, "e n *size"], rows: Int64[Tensor, "e b"]) -> Float[Tensor, "e b *size"]:
    """Rows of each episode, images in the layout for the device."""
    n = values.shape[1]
    flat = (rows + torch.arange(len(rows), device=rows.device)[:, None] * n).flatten()
    picked = values.flatten(0, 1)[flat]
    if picked.ndim == 4:
        picked = in_layout(picked)
    return picked.reshape(*rows.shape, *picked.shape[1:])
