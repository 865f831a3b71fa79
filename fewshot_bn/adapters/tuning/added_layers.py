"""Layers that add something trained to what a frozen layer puts out, episode by episode.

The frozen layer is shared and runs once on the images of all episodes. What is added is made of `values` [e ...] by
products of matrices over the episodes: the images of an episode lie next to each other, so their pixels (or tokens) are
the rows of one matrix per episode. Of maps in channels-last layout that is a view, no copy.

Shapes: inputs [e*n c h w] or [e*n ... d]; rows [e m d].
Source of the residual adapter: Li et al. 2022, arXiv:2107.00358, section 3.2.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot_bn.adapters.tuning.layers import EpisodicLayer
from fewshot_bn.adapters.tuning.patches import middle


class AddedLayer(EpisodicLayer):
    """What all kinds share: the frozen layer, and the `values` of each episode, none at first."""

    def __init__(self, frozen: nn.Module, n_episodes: int) -> None:
        super().__init__(n_episodes)
        self.frozen = frozen
        self.values: Sequence[Tensor] = ()

    def started(self, generators: Sequence[torch.Generator]) -> list[Tensor]:
        """The values before the training; whatever is random, from the generator of each episode."""
        raise NotImplementedError

    def forward(self, x: Tensor, *more: Any, **how: Any) -> Any:
        """As the frozen layer until there are values, and then with what they add."""
        if not self.values:
            return self.frozen(x, *more, **how)
        self.check(x)
        return self.run(x, *more, **how)

    def run(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class ResidualAdapter(AddedLayer):
    """A convolution with a 1x1 convolution beside it: the same stride and groups, at the middle of the kernel.

    It starts as `start` times the identity, within each group. Beside a depthwise convolution it is a factor for each
    channel.
    """

    title = "convolution"

    def __init__(self, frozen: nn.Conv2d, n_episodes: int, start: float) -> None:
        super().__init__(frozen, n_episodes)
        self._start, self._groups = start, frozen.groups
        self._shape = frozen.out_channels, frozen.in_channels // frozen.groups

    @property
    def size(self) -> str:
        return f"{self._shape[0]} channels"

    def started(self, generators: Sequence[torch.Generator]) -> list[Tensor]:
        del generators
        weight = cast("Tensor", self.frozen.weight)
        n_out, n_in = self._shape
        one = self._start * torch.eye(n_out // self._groups, n_in, dtype=trained_dtype(weight), device=weight.device)
        return [one.repeat(self.n_episodes, self._groups, 1)]

    def run(self, x: Float[Tensor, "en c h w"]) -> Float[Tensor, "en d h2 w2"]:
        y: Tensor = self.frozen(x)
        (alpha,) = self.values
        seen = middle(x, cast("nn.Conv2d", self.frozen), y.shape[2:])
        rows = as_rows(seen, self.n_episodes)
        if self._groups == 1:
            return as_maps(torch.baddbmm(as_rows(y, self.n_episodes), rows, alpha.mT), y)
        return y + as_maps(_in_groups(rows, alpha, self._groups), y)


def _in_groups(rows: Float[Tensor, "e m c"], alpha: Float[Tensor, "e d k"], groups: int) -> Float[Tensor, "e m d"]:
    """The product of each group of channels with its own matrix."""
    if alpha.shape[1] == groups and alpha.shape[2] == 1:  # depthwise
        return rows * alpha.mT
    parts = torch.einsum("emgk,egdk->emgd", rows.unflatten(2, (groups, -1)), alpha.unflatten(1, (groups, -1)))
    return parts.flatten(2)


def as_rows(x: Float[Tensor, "en *size"], n_episodes: int) -> Float[Tensor, "e m d"]:
    """Channels of maps, or the last axis, as columns."""
    last = x.movedim(1, -1) if x.ndim == 4 else x
    return last.reshape(n_episodes, -1, last.shape[-1])


def as_maps(rows: Float[Tensor, "e m d"], like: Float[Tensor, "en d h w"]) -> Float[Tensor, "en d h w"]:
    """Rows back as maps, in channels-last layout."""
    return rows.reshape(len(like), *like.shape[2:], -1).movedim(-1, 1)


def trained_dtype(weight: Tensor) -> torch.dtype:
    """That of what is trained beside `weight`: at least float32."""
    return torch.promote_types(weight.dtype, torch.float32)
