"""How a tuner sees many images: in batches out of the store, in the order in which an episode would give them.

What is trained is the same as if all images were the support set of one episode; only are they never in memory
together.

Shapes: rows [n], labels y [1 n].
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters.tuning.batches import Batch, orders
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.views import augment
from fewshot_bn.inputs.images import normalise
from fewshot_bn.inputs.source import Source
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.workers import one_ahead


@dataclass(frozen=True, slots=True)
class Pictures:
    """The images of a source as a network takes them that is its backbone, or a member of it: see `seen`."""

    source: Source
    seen: Callable[[Float[Tensor, "1 b 3 h w"]], Float[Tensor, "1 b 3 h w"]]

    def parts(self, rows: Iterable[Int64[ndarray, "b"]]) -> Iterator[Float[Tensor, "1 b 3 h w"]]:
        """The images of each part of rows, in order; the next are read while the last are worked on."""
        images, device = self.source.images, self.source.device

        def read(part: Int64[ndarray, "b"]) -> UInt8[Tensor, "b 3 h w"]:
            return images.gather(part, device).to(device)

        for pixels in one_ahead(read, rows):
            yield self.seen(normalise(pixels.result(), images.preprocessing, device)[None])

    def labels(self, rows: Int64[ndarray, "n"]) -> Int64[Tensor, "1 n"]:
        return torch.from_numpy(self.source.images.dataset.labels[rows]).to(self.source.device)[None]


@dataclass(frozen=True, slots=True)
class Feed:
    """The training images of a tuner, in place of the support set of an episode (batches.py)."""

    pictures: Pictures
    rows: Int64[ndarray, "n"]
    y: Int64[Tensor, "1 n"]
    network: EpisodicNetwork
    seed: int
    batch_size: int
    views: tuple[str, ...]
    preprocessing: Preprocessing

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches without end, from the one of step `start` on."""
        n = len(self.rows)
        to_read, to_use = itertools.tee(orders(n, self.batch_size, [self.seed], self.y.device, start=start))
        images = self.pictures.parts(self.rows[order.numbers[0]] for order in to_read)
        for step, (x, order) in enumerate(zip(images, to_use, strict=True), start):
            shown = augment(x, self.views, seeds=[self.seed], step=step, preprocessing=self.preprocessing)
            y = self.y[:, order.places[0]]
            yield Batch(self.network.stem(shown), y, y.shape[1] / n, order.ends_pass)


def in_parts(rows: Int64[ndarray, "n"], size: int) -> Iterator[Int64[ndarray, "b"]]:
    """The rows in their order, `size` at once."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


@dataclass(frozen=True, slots=True)
class FeatureFeed:
    """Features of the training images, where the network stays as it is and sees no random views of them."""

    z: Float[Tensor, "1 n d"]
    y: Int64[Tensor, "1 n"]
    seed: int
    batch_size: int

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches without end, from the one of step `start` on."""
        n = self.y.shape[1]
        for order in orders(n, self.batch_size, [self.seed], self.y.device, start=start):
            places = order.places[0]
            yield Batch((self.z[:, places],), self.y[:, places], len(places) / n, order.ends_pass)
