"""What an adapter is: settings in a frozen dataclass, called on a batch of episodes, answering with a `Fit`.

A probe sees frozen features, a tuner sees the images and the backbone. The same arguments give the same answer. An
adapter is inductive, the query of an episode never changing how another is classified, unless it says `transductive`.

Shapes: features z_s [e n d], z_q [e q d]; images x_s [e n 3 h w], x_q [e q 3 h w]; labels y_s [e n] in 0..way-1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import DataError, UsageError

LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class Fit:
    """The scores of the queries, and how the fit of each episode went: steps taken, and whether it reached its goal.

    Not converging is data: it is counted in the result and shown. `measures` are whatever else an adapter has to say of
    each episode, by name, such as the C it chose; they are kept in the result.
    """

    logits: Float[Tensor, "e q way"]
    steps: Int64[Tensor, "e"]
    converged: Bool[Tensor, "e"]
    measures: Mapping[str, Float[Tensor, "e"]] = field(default_factory=dict)


@runtime_checkable
class Probe(Protocol):
    """Classifies on frozen features."""

    takes: ClassVar[Literal["features"]]
    transductive: ClassVar[bool]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit: ...


@runtime_checkable
class Tuner(Protocol):
    """Adapts the backbone to each episode; leaves the backbone itself bit-identical.

    `seeds`, one per episode, decide whatever an adapter draws. `images_at_once` bounds the support images of an episode
    that are in memory together, where the result does not need all of them at once.
    """

    takes: ClassVar[Literal["images"]]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def transductive(self) -> bool:
        """Whether a query has a say in how another query of its episode is classified."""
        ...

    def check(self, backbone: Backbone, n_support: int, n_query: int) -> None:
        """Raise `ModelError` or `UsageError` where this backbone cannot be adapted to episodes of so many images."""
        ...

    def bytes_per_image(self, backbone: Backbone) -> int:
        """Device memory that one support image takes during a training step."""
        ...

    def images_together(self, n_support: int, n_query: int) -> int:
        """The most images of an episode that the adapter puts through the backbone together, where memory allows."""
        ...

    def __call__(
        self,
        backbone: Backbone,
        x_s: Float[Tensor, "e n 3 h w"],
        y_s: Int64[Tensor, "e n"],
        x_q: Float[Tensor, "e q 3 h w"],
        *,
        seeds: Sequence[int] | None = None,
        images_at_once: int | None = None,
    ) -> Fit: ...


@runtime_checkable
class OwnsWeights(Protocol):
    """A tuner whose episodes take memory beside their images."""

    def bytes_held(self, backbone: Backbone) -> int:
        """Device memory of the weights of an episode, their gradients, and what an optimiser keeps of them."""
        ...


Adapter = Probe | Tuner


def count_ways(y_s: Int64[Tensor, "e n"]) -> int:
    """The number of classes. Raises `DataError` where an episode lacks a support image of one of 0..way-1."""
    n_way = int(y_s.max()) + 1 if y_s.numel() else 0
    counts = (y_s[:, :, None] == torch.arange(n_way, device=y_s.device)).sum(1)
    if n_way < 2 or int(y_s.min()) < 0 or not bool((counts > 0).all()):
        lacking = (counts == 0).nonzero()
        which = (
            f"episode {int(lacking[0, 0])} has no support image of class {int(lacking[0, 1])}" if len(lacking) else ""
        )
        raise DataError(
            f"support labels must be 0..way-1 with every class present, way at least 2; found {y_s.unique().tolist()}"
            + (f"; {which}" if which else "")
        )
    return n_way


def check_finite(z: Float[Tensor, "e n d"], what: str) -> None:
    """Raise `DataError` that names the first row of `z` that is not finite."""
    if bool(z.sum().isfinite()):  # a fast answer, but for sums too large to be finite
        return
    bad = (~z.isfinite().all(-1)).nonzero()
    if len(bad):
        e, row = bad[0].tolist()
        raise DataError(f"the features of {what} image {row} in episode {e} of this batch are not finite")


def check_positive(**values: int | float) -> None:
    """Raise `UsageError` for the first value that is not a finite number above 0."""
    for name, value in values.items():
        if not 0 < value <= LARGEST:
            raise UsageError(f"{name} is {value}; it must be a finite number above 0")


def check_not_negative(**values: int | float) -> None:
    """Raise `UsageError` for the first value that is not a finite number of at least 0."""
    for name, value in values.items():
        if not 0 <= value <= LARGEST:
            raise UsageError(f"{name} is {value}; it must be a finite number of 0 or more")


def check_at_least(least: float, **values: float) -> None:
    """Raise `UsageError` for the first value that is not a finite number of at least `least`."""
    for name, value in values.items():
        if not least <= value <= LARGEST:
            raise UsageError(f"{name} is {value}; it must be a finite number of at least {least:g}")
