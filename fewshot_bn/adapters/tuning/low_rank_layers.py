"""Frozen layers with a low-rank product beside their matrix: x ↦ W x + (α / r) B A x, with A and B of each episode.

Two small products are taken one after the other, so no episode has a matrix of the full size. The matrix of a
convolution is [c_out, c_in k k] on the patches of its input: A is applied to every pixel for each of the k k places of
the kernel, and what belongs to a patch is summed.

Shapes: A [e r d_in], of a convolution [e (k k r) c_in]; B [e d_out r]; inputs [e*n ... d] or [e*n c h w].
Source: Hu et al. 2021, arXiv:2106.09685 (LoRA), eq. 3: A starts at random, B at zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.added_layers import AddedLayer, as_maps, as_rows, trained_dtype
from fewshot_bn.adapters.tuning.patches import middle, sum_of_patches
from fewshot_bn.errors import ModelError


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix [n_out n_in] of a layer, and on how many patches of the kernel its input is spread."""

    n_out: int
    n_in: int
    n_places: int = 1

    def rank(self, most: int) -> int:
        """`most`, or the full rank of a smaller matrix."""
        return min(most, self.n_out, self.n_in * self.n_places)


def matrices(layer: nn.Module) -> list[Matrix]:
    """Those of a linear layer, a convolution or attention."""
    if isinstance(layer, nn.MultiheadAttention):
        return [Matrix(3 * layer.embed_dim, layer.embed_dim), Matrix(layer.embed_dim, layer.embed_dim)]
    if isinstance(layer, nn.Conv2d):
        return [Matrix(layer.out_channels, layer.in_channels, math.prod(layer.kernel_size))]
    linear = cast("nn.Linear", layer)
    return [Matrix(linear.out_features, linear.in_features)]


class LowRankLayer(AddedLayer):
    """What all kinds share: how the products start. The entries of A are N(0, 1/n), n inputs to a row."""

    title = "linear or convolution"

    def __init__(self, frozen: nn.Module, n_episodes: int, rank: int, alpha: float) -> None:
        super().__init__(frozen, n_episodes)
        self._matrices, self._rank, self._scale = matrices(frozen), rank, alpha / rank

    @property
    def size(self) -> str:
        return f"{self._matrices[0].n_out} outputs"

    def started(self, generators: Sequence[torch.Generator]) -> list[Tensor]:
        like = next(self.frozen.parameters())
        dtype, values = trained_dtype(like), []
        for matrix in self._matrices:
            rank = matrix.rank(self._rank)
            size = matrix.n_places * rank, matrix.n_in
            drawn = torch.stack([torch.randn(size, generator=generator) for generator in generators])
            values.append((drawn / math.sqrt(matrix.n_in * matrix.n_places)).to(like.device, dtype))
            values.append(torch.zeros(len(drawn), matrix.n_out, rank, device=like.device, dtype=dtype))
        return values

    def check(self, x: Tensor) -> None:
        """As in every episodic layer, but the rows may be several for each image, such as windows."""
        if not self.n_images or len(x) % self.n_images:
            super().check(x)

    def rows(self, x: Float[Tensor, "en *size"]) -> Float[Tensor, "e m d"]:
        return x.reshape(self.n_episodes, -1, x.shape[-1])

    def plus(
        self, y: Float[Tensor, "e m d_out"], low: Float[Tensor, "e m r"], b: Float[Tensor, "e d_out r"]
    ) -> Float[Tensor, "e m d_out"]:
        return torch.baddbmm(y, low, b.mT, alpha=self._scale)


class LowRankLinear(LowRankLayer):
    """A linear layer."""

    def run(self, x: Float[Tensor, "en *size"]) -> Float[Tensor, "en *size2"]:
        a, b = self.values
        y: Tensor = self.frozen(x)
        return self.plus(self.rows(y), torch.bmm(self.rows(x), a.mT), b).reshape(y.shape)


class LowRankConvolution(LowRankLayer):
    """A convolution without groups; one of 1x1 is a linear layer on the pixels that its stride meets."""

    def run(self, x: Float[Tensor, "en c h w"]) -> Float[Tensor, "en d h2 w2"]:
        a, b = self.values
        layer = cast("nn.Conv2d", self.frozen)
        y: Tensor = layer(x)
        if max(layer.kernel_size) == 1:
            low = torch.bmm(as_rows(middle(x, layer, y.shape[2:]), self.n_episodes), a.mT)
        else:
            places = torch.bmm(a, as_rows(x, self.n_episodes).mT)  # channels first, so that sums are over whole rows
            places = places.unflatten(2, (-1, *x.shape[2:])).unflatten(1, (*layer.kernel_size, -1))
            low = sum_of_patches(places, layer, y.shape[2:]).flatten(2).mT
        return as_maps(self.plus(as_rows(y, self.n_episodes), low, b), y)


class LowRankAttention(LowRankLayer):
    """torch's attention of one input to itself, in eval mode: products beside both of its linear layers."""

    def run(  # type: ignore[override]
        self,
        query: Float[Tensor, "en t d"],
        key: Float[Tensor, "en t d"],
        value: Float[Tensor, "en t d"],
        need_weights: bool = True,  # noqa: FBT001, FBT002 - as the layer is called
    ) -> tuple[Float[Tensor, "en t d"], None]:
        del need_weights
        if key is not query or value is not query:
            raise ModelError(f"an attention layer of {self.size} looks at another input, which this mode cannot tune")
        frozen = cast("nn.MultiheadAttention", self.frozen)
        a_in, b_in, a_out, b_out = self.values
        y = F.linear(query, cast("Tensor", frozen.in_proj_weight), frozen.in_proj_bias)
        y = self.plus(self.rows(y), torch.bmm(self.rows(query), a_in.mT), b_in).reshape(y.shape)
        q, k, v = y.unflatten(2, (3, frozen.num_heads, -1)).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = F.linear(z, frozen.out_proj.weight, frozen.out_proj.bias)
        return self.plus(self.rows(y), torch.bmm(self.rows(z), a_out.mT), b_out).reshape(y.shape), None


KINDS: dict[type[nn.Module], type[LowRankLayer]] = {
    nn.MultiheadAttention: LowRankAttention,
    nn.Conv2d: LowRankConvolution,
    nn.Linear: LowRankLinear,
}


def low_rank(frozen: nn.Module, n_episodes: int, *, rank: int, alpha: float) -> LowRankLayer:
    """The episodic layer of the kind of `frozen`."""
    kind = next(kind for of, kind in KINDS.items() if isinstance(frozen, of))
    return kind(frozen, n_episodes, rank, alpha)
