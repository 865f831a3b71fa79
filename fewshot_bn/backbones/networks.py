"""Few-shot architectures that torchvision lacks, as feature extractors without a classifier.

Shapes: every network maps images [b 3 h w] to pooled or flattened features [b d].
Parameter names follow the public checkpoints of each architecture, so that those load strictly.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

MOST_DEPTH = 1202  # of a published one
MOST_ARGUMENT = 2**16  # such as a number of classes
MOST_VALUES = 2**30  # weights: 4 GiB


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max-pooling, flattened (84 px gives 1600).

    Source: Vinyals et al. 2016, arXiv:1606.04080; parameter names of learn2learn's ConvBase.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        blocks = (
            nn.Sequential(
                nn.Conv2d(3 if i == 0 else width, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )
            for i in range(4)
        )
        self.encoder = nn.Sequential(*blocks)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.encoder(x)
        return z.flatten(1)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut: subsampling and zero channels ("option A")."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.stride = stride
        self.pad = (n_out - n_in) // 2

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        shortcut = x
        if self.pad:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class CifarResNet(nn.Module):
    """ResNet-20, -32, -44, -56 for 32 px images, and ResNet-8 below them; d = 4 * width.

    A stem of stride 2 makes it four times cheaper at 32 px.
    Source: He et al. 2016, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, depth: int = 20, width: int = 16, stem_stride: int = 1) -> None:
        super().__init__()
        if (depth - 2) % 6 or not 8 <= depth <= MOST_DEPTH:
            raise ValueError(f"a CIFAR ResNet has depth 6k + 2 from 8 to {MOST_DEPTH}, not {depth}")
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        n_blocks = (depth - 2) // 6
        self.layer1 = self._stage(width, width, n_blocks)
        self.layer2 = self._stage(width, 2 * width, n_blocks)
        self.layer3 = self._stage(2 * width, 4 * width, n_blocks)

    @staticmethod
    def _stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
        first = CifarBlock(n_in, n_out, stride=n_out // n_in)
        return nn.Sequential(first, *(CifarBlock(n_out, n_out, stride=1) for _ in range(n_blocks - 1)))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = F.relu(self.bn1(self.conv1(x)), inplace=True)
        z = self.layer3(self.layer2(self.layer1(z)))
        return z.mean((2, 3))


class MobileNetV1(nn.Module):
    """Depthwise-separable convolutions with leaky ReLU; d = 1024 * width_mult.

    Source: Howard et al. 2017, arXiv:1704.04861; stages named as in the public 0.25 checkpoint.
    """

    def __init__(self, width_mult: float = 0.25, negative_slope: float = 0.1) -> None:
        super().__init__()

        def unit(n_in: int, n_out: int, kernel: int, stride: int, *, groups: int = 1) -> list[nn.Module]:
            conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
            return [conv, nn.BatchNorm2d(n_out), nn.LeakyReLU(negative_slope, inplace=True)]

        def separable(n_in: int, n_out: int, stride: int) -> nn.Sequential:
            return nn.Sequential(*unit(n_in, n_in, 3, stride, groups=n_in), *unit(n_in, n_out, 1, 1))

        c = [round(width_mult * channels) for channels in (32, 64, 128, 256, 512, 1024)]
        self.stage1 = nn.Sequential(
            nn.Sequential(*unit(3, c[0], 3, 2)),
            separable(c[0], c[1], 1),
            separable(c[1], c[2], 2),
            separable(c[2], c[2], 1),
            separable(c[2], c[3], 2),
            separable(c[3], c[3], 1),
        )
        self.stage2 = nn.Sequential(separable(c[3], c[4], 2), *(separable(c[4], c[4], 1) for _ in range(5)))
        self.stage3 = nn.Sequential(separable(c[4], c[5], 2), separable(c[5], c[5], 1))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.stage3(self.stage2(self.stage1(x)))
        return z.mean((2, 3))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "conv4": Conv4,
    "cifar_resnet": CifarResNet,
    "mobilenet_v1": MobileNetV1,
}


def built(build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """`build` called with the arguments of a card, which come from anywhere: first without memory for its weights.

    Raises `ValueError` where the network would be too large, and whatever `build` raises.
    """
    large = [name for name, value in arguments.items() if isinstance(value, int) and abs(value) > MOST_ARGUMENT]
    if large:
        raise ValueError(f"{', '.join(large)}: at most {MOST_ARGUMENT:,} is possible")
    n_values = _n_values(build, arguments) if arguments else 0
    if n_values > MOST_VALUES:
        raise ValueError(f"it would have {n_values:,} weights, at most {MOST_VALUES:,} are possible")
    return build(**arguments)


def _n_values(build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> int:
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build(**arguments).parameters())
    except NotImplementedError:  # RegNet computes with numbers of tensors while it is built
        return 0
