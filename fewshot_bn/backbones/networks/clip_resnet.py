"""The ResNets that CLIP sees images with."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot_bn.backbones.networks.positions import positions_for

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
HEAD_WIDTH = 64


class ClipBottleneck(nn.Module):
    """A bottleneck that subsamples by average pooling, before the last convolution and before that of the shortcut."""

    def __init__(self, n_in: int, n_mid: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * n_mid
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_mid, 1, bias=False), nn.BatchNorm2d(n_mid)
        self.conv2, self.bn2 = nn.Conv2d(n_mid, n_mid, 3, padding=1, bias=False), nn.BatchNorm2d(n_mid)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(n_mid, n_out, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or n_in != n_out:
            self.downsample = nn.Sequential()
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(n_in, n_out, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(n_out))

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        z: Tensor = self.relu(self.bn3(self.conv3(self.avgpool(y))) + shortcut)
        return z


class AttentionPool(nn.Module):
    """Pooling by attention: the mean of all places asks every place, itself among them."""

    def __init__(self, side: int, n_in: int, n_features: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, n_in) / n_in**0.5)
        self.k_proj = nn.Linear(n_in, n_in)
        self.q_proj = nn.Linear(n_in, n_in)
        self.v_proj = nn.Linear(n_in, n_in)
        self.c_proj = nn.Linear(n_in, n_features)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)
        tokens = tokens + positions_for(self.positional_embedding[None], x.shape[2], x.shape[3])
        q, k, v = (
            layer(part).unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2)
            for layer, part in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        weights = (q * HEAD_WIDTH**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        z: Tensor = self.c_proj((weights @ v).transpose(1, 2).flatten(1))
        return z


class ClipResNet(nn.Module):
    """A ResNet with a stem of three convolutions; pooled by attention, or by averaging where `n_features` is 0.

    Source: Radford et al. 2021, arXiv:2103.00020, section 2.4; parameter names of its visual tower.
    """

    def __init__(self, depth: int = 50, width: int = 64, n_features: int = 1024, image_px: int = 224) -> None:
        super().__init__()
        if depth not in UNITS or width < 2 or width % 2 or n_features < 0 or image_px < 32:
            raise ValueError(
                f"a ResNet of CLIP has depth {' or '.join(map(str, UNITS))}, an even width, features from 0 on and "
                f"images from 32 px on, not depth {depth}, width {width}, n_features {n_features}, image_px {image_px}"
            )
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        units = UNITS[depth]
        self.layer1 = self._stage(width, width, units[0], stride=1)
        self.layer2 = self._stage(4 * width, 2 * width, units[1], stride=2)
        self.layer3 = self._stage(8 * width, 4 * width, units[2], stride=2)
        self.layer4 = self._stage(16 * width, 8 * width, units[3], stride=2)
        self.attnpool = AttentionPool(image_px // 32, 32 * width, n_features) if n_features else None

    @staticmethod
    def _stage(n_in: int, n_mid: int, n_units: int, stride: int) -> nn.Sequential:
        first = ClipBottleneck(n_in, n_mid, stride)
        return nn.Sequential(first, *(ClipBottleneck(4 * n_mid, n_mid, 1) for _ in range(n_units - 1)))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z = self.relu(self.bn1(self.conv1(x)))
        z = self.relu(self.bn2(self.conv2(z)))
        z = self.avgpool(self.relu(self.bn3(self.conv3(z))))
        z = self.layer4(self.layer3(self.layer2(self.layer1(z))))
        pooled: Tensor = z.mean((2, 3)) if self.attnpool is None else self.attnpool(z)
        return pooled
