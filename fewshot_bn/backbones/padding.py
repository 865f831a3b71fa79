"""The padding "SAME" of TensorFlow and JAX in a network of torch, whose weights and names stay as they are.

The last pixels get what an odd number of padding leaves over, and how much there is depends on the size of the image:
a stride s over n pixels with a kernel of k gives ⌈n/s⌉ outputs, so max((⌈n/s⌉ - 1) s + d (k - 1) + 1 - n, 0) pixels are
added, half of them (rounded down) before the first. Plain padding shifts every strided layer by up to one pixel.
Source: the documentation of `tf.nn.convolution`, "SAME".
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """A convolution that pads as its size of image asks."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:  # noqa: A002 - torch's name
        x = padded(input, self.kernel_size, self.stride, cast("tuple[int, int]", self.dilation))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SameMaxPool2d(nn.MaxPool2d):
    """Max-pooling that pads as its size of image asks, with what is no maximum."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:  # noqa: A002 - torch's name
        kernel, stride, dilation = map(_pair, (self.kernel_size, self.stride, self.dilation))
        x = padded(input, kernel, stride, dilation, value=-float("inf"))
        return F.max_pool2d(x, kernel, stride, 0, dilation, self.ceil_mode)


def padded(
    x: Float[Tensor, "b c h w"],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    value: float = 0.0,
) -> Float[Tensor, "b c h2 w2"]:
    """`x` with the padding "SAME" around it."""
    widths: list[int] = []
    for side in (1, 0):  # F.pad takes the last axis first
        n, k, s, d = x.shape[2 + side], kernel[side], stride[side], dilation[side]
        more = missing(n, k, s, d)
        widths += [more // 2, more - more // 2]
    return F.pad(x, widths, value=value) if any(widths) else x


def missing(n: int, kernel: int, stride: int, dilation: int) -> int:
    """How many pixels are added to `n` of a row."""
    return max((-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n, 0)


def pad_same(network: nn.Module) -> None:
    """Turn every layer of `network` that pads into one that pads "SAME", in place.

    Raises `ValueError` where a layer is of a kind whose padding is its own.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and type(module) not in (nn.Conv2d, SameConv2d):
            raise ValueError(f"{name} is a {type(module).__name__}, which pads as its own code says")
        if type(module) is nn.Conv2d and max(module.kernel_size) > 1:
            module.__class__ = SameConv2d
        elif type(module) is nn.MaxPool2d:
            module.__class__ = SameMaxPool2d


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value
