"""ResNets of bottlenecks of any width, one or several side by side; torchvision's widen only the inside of a block.

Layers have torchvision's names, and so have the public checkpoints of widened networks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

EXPANSION = 4
STAGES = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the 3x3 has the stride.

    Source: He et al. 2016, arXiv:1512.03385; the stride as in Goyal et al. 2017, arXiv:1706.02677.
    """

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = EXPANSION * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        z = self.relu(self.bn1(self.conv1(x)))
        z = self.relu(self.bn2(self.conv2(z)))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.bn3(self.conv3(z)) + shortcut)
        return out


class BottleneckResNet(nn.Module):
    """ResNet-50 and its like, with `channels` after the first convolution: 64, or 64 times a width; d = 32 * channels.

    `blocks` are those of the four stages: 3, 4, 6, 3 for ResNet-50.
    """

    def __init__(self, channels: int = 64, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        if len(blocks) != STAGES:
            raise ValueError(f"blocks are {blocks}; {STAGES} numbers are needed, one for each stage")
        self.conv1 = nn.Conv2d(3, channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        n_in = channels
        for stage, n_blocks in enumerate(blocks):
            width = channels * 2**stage
            first = Bottleneck(n_in, width, stride=2 if stage else 1)
            n_in = EXPANSION * width
            others = (Bottleneck(n_in, width, stride=1) for _ in range(n_blocks - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(STAGES):
            z = self.get_submodule(f"layer{stage + 1}")(z)
        pooled: Tensor = self.avgpool(z)
        return pooled.flatten(1)


class SideBySide(nn.Module):
    """`members` ResNets, their features one after the other; d = members * 32 * channels.

    Source: Zhang & Bottou 2023, arXiv:2212.07346, networks that are trained together under one classifier.
    """

    def __init__(self, members: int, channels: int = 64, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members is {members}; 1 or more are needed")
        self.members = members
        for i in range(members):
            self.add_module(f"model{i}", BottleneckResNet(channels, blocks))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return torch.cat([self.get_submodule(f"model{i}")(x) for i in range(self.members)], dim=1)
