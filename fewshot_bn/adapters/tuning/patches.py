"""Where the kernel of a convolution lies on its input: the pixels under its middle, and sums over the pixels under it.

Axis by axis, place u of the kernel lies on pixel s i + d u - p for output i, with stride s, dilation d, and p pixels of
padding before the first.
"""

import itertools
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn.backbones.padding import SameConv2d, missing


def middle(x: Float[Tensor, "b c h w"], layer: nn.Conv2d, size: Sequence[int]) -> Float[Tensor, "b c h2 w2"]:
    """The pixels under the middle of the kernel, for each of the `size` pixels that the layer puts out."""
    before = _padding_before(layer, x.shape[2:])
    for axis, (n_out, stride) in enumerate(zip(size, layer.stride, strict=True), start=2):
        k, d = layer.kernel_size[axis - 2], layer.dilation[axis - 2]
        first = (k - 1) // 2 * d - before[axis - 2]
        end = first + (n_out - 1) * stride + 1
        if first < 0 or end > x.shape[axis]:  # the middle is outside of the image
            widths = (max(-first, 0), max(end - x.shape[axis], 0))
            x = F.pad(x, (0, 0, *widths) if axis == 2 else widths)
            first, end = max(first, 0), end + widths[0]
        x = x[:, :, first:end:stride] if axis == 2 else x[..., first:end:stride]
    return x


def sum_of_patches(
    places: Float[Tensor, "e kh kw r n h w"], layer: nn.Conv2d, size: Sequence[int]
) -> Float[Tensor, "e r n h2 w2"]:
    """For each of the `size` pixels that the layer puts out, the sum of what each place of the kernel lies on."""
    before = _padding_before(layer, places.shape[-2:])
    slices = [
        [
            _slices(place * layer.dilation[axis] - before[axis], layer.stride[axis], places.shape[axis - 2], size[axis])
            for place in range(layer.kernel_size[axis])
        ]
        for axis in (0, 1)
    ]
    y: Tensor = _SumOfPatches.apply(places, slices, size)
    return y


Slices = Sequence[Sequence[tuple[slice, slice]]]


class _SumOfPatches(torch.autograd.Function):
    """Sums of shifted maps; autograd would write every one of them again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, slices: Slices, size: Sequence[int]) -> Tensor:
        e, _, _, r, n, _, _ = places.shape
        y = places.new_zeros(e, r, n, *size, dtype=torch.promote_types(places.dtype, torch.float32))
        for u, v, out, seen in _in_turn(slices):
            y[..., out[0], out[1]] += places[:, u, v, ..., seen[0], seen[1]]
        ctx.slices, ctx.shape, ctx.dtype = slices, places.shape, places.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (g,) = gradients
        places = g.new_empty(ctx.shape, dtype=ctx.dtype)
        for u, v, out, seen in _in_turn(ctx.slices):
            place = places[:, u, v]
            for axis, part in zip((-2, -1), seen, strict=True):  # the pixels that no output meets
                for rest in _between(part, place.shape[axis]):
                    place.movedim(axis, 0)[rest] = 0
            place[..., seen[0], seen[1]] = g[..., out[0], out[1]]
        return places, None, None


def _in_turn(slices: Slices) -> Any:
    """Every place of the kernel with the outputs and the pixels that meet there, each by rows and columns."""
    for (u, (rows, seen_rows)), (v, (columns, seen_columns)) in itertools.product(*map(enumerate, slices)):
        yield u, v, (rows, columns), (seen_rows, seen_columns)


def _slices(shift: int, stride: int, n_in: int, n_out: int) -> tuple[slice, slice]:
    """The outputs i for which stride i + shift is a pixel, and those pixels."""
    first = max(0, -(shift // stride))
    last = max(first, min(n_out, (n_in - 1 - shift) // stride + 1))
    start = first * stride + shift
    return slice(first, last), slice(start, start + (last - first) * stride, stride)


def _between(pixels: slice, n: int) -> list[slice]:
    """What `pixels` leave out of `n`."""
    step = pixels.step
    after = max(pixels.start, pixels.stop - step + 1)
    return [slice(0, pixels.start), *(slice(pixels.start + k, after, step) for k in range(1, step)), slice(after, n)]


def _padding_before(layer: nn.Conv2d, size: Sequence[int]) -> list[int]:
    """Pixels of padding before the first, in each direction, where the class of the layer is known."""
    dilation, reach = (
        cast("tuple[int, int]", layer.dilation),
        [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)],
    )
    if isinstance(layer, SameConv2d):
        return [
            missing(n, *each) // 2 for n, *each in zip(size, layer.kernel_size, layer.stride, dilation, strict=True)
        ]
    if layer.padding == "valid":
        return [0, 0]
    if layer.padding == "same" or type(layer).forward is not nn.Conv2d.forward:
        return [n // 2 for n in reach]
    return list(cast("tuple[int, int]", layer.padding))
