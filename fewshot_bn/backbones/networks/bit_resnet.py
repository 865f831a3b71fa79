"""The ResNets of Big Transfer: pre-activation, GroupNorm, standardised kernels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
GROUPS = 32
EPS = 1e-10  # beside the variance of a kernel


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose kernels have mean 0 and variance 1, each over its inputs and places."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:  # noqa: A002 - torch's name
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        kernels = (self.weight - mean) / torch.sqrt(variance + EPS)
        return F.conv2d(input, kernels, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BitUnit(nn.Module):
    """A pre-activation bottleneck; the stride is on its 3x3 convolution, and shortcuts follow the first norm."""

    def __init__(self, n_in: int, n_mid: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * n_mid
        self.gn1 = nn.GroupNorm(GROUPS, n_in)
        self.conv1 = StandardisedConv2d(n_in, n_mid, 1, bias=False)
        self.gn2 = nn.GroupNorm(GROUPS, n_mid)
        self.conv2 = StandardisedConv2d(n_mid, n_mid, 3, stride, padding=1, bias=False)
        self.gn3 = nn.GroupNorm(GROUPS, n_mid)
        self.conv3 = StandardisedConv2d(n_mid, n_out, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or n_in != n_out:
            self.downsample = StandardisedConv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        y = self.relu(self.gn1(x))
        shortcut = x if self.downsample is None else self.downsample(y)
        y = self.conv2(self.relu(self.gn2(self.conv1(y))))
        z: Tensor = self.conv3(self.relu(self.gn3(y))) + shortcut
        return z


class BitResNet(nn.Module):
    """ResNet-50, -101 or -152 of 1, 2, 3 or 4 times the usual width; d = 2048 * width.

    Max-pooling comes after a border of zeros, which counts because nothing before it is rectified.
    Source: Kolesnikov et al. 2020, arXiv:1912.11370; parameter names of its PyTorch code.
    """

    def __init__(self, depth: int = 50, width: int = 1) -> None:
        super().__init__()
        if depth not in UNITS or not 1 <= width <= 4:
            raise ValueError(
                f"a BiT ResNet has depth {', '.join(map(str, UNITS))} and width 1 to 4, not {depth}x{width}"
            )
        n = 64 * width
        stem = StandardisedConv2d(3, n, 7, 2, padding=3, bias=False)
        self.root = nn.Sequential()
        self.root.add_module("conv", stem)
        self.root.add_module("pad", nn.ConstantPad2d(1, 0.0))
        self.root.add_module("pool", nn.MaxPool2d(3, 2))
        self.body = nn.Sequential()
        for stage, n_units in enumerate(UNITS[depth]):
            n_mid = n * 2**stage
            self.body.add_module(f"block{stage + 1}", self._block(n if stage == 0 else 2 * n_mid, n_mid, n_units))
        self.head = nn.Sequential()
        self.head.add_module("gn", nn.GroupNorm(GROUPS, 32 * n))
        self.head.add_module("relu", nn.ReLU(inplace=True))

    @staticmethod
    def _block(n_in: int, n_mid: int, n_units: int) -> nn.Sequential:
        block = nn.Sequential()
        for unit in range(n_units):
            stride = 2 if unit == 0 and n_in > n_mid else 1
            block.add_module(f"unit{unit + 1:02d}", BitUnit(n_in if unit == 0 else 4 * n_mid, n_mid, stride))
        return block

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.head(self.body(self.root(x)))
        return z.mean((2, 3))
