"""The ResNet-12 of few-shot learning."""

from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = (64, 160, 320, 640)


class ResNet12Block(nn.Module):
    """Three 3x3 convolutions and a projected shortcut, then 2x2 max-pooling. Its DropBlock is for training only."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out)
        self.conv3, self.bn3 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out)
        self.relu = nn.LeakyReLU(0.1, inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        z: Tensor = self.maxpool(self.relu(self.bn3(self.conv3(y)) + self.downsample(x)))
        return z


class ResNet12(nn.Module):
    """Four blocks; d = 640 by average pooling, or the flattened maps where `pooled` is off (84 px gives 16,000).

    Source: Lee et al. 2019, arXiv:1904.03758, section 4.1; parameter names of its code, which others share.
    """

    def __init__(self, *, pooled: bool = True) -> None:
        super().__init__()
        self.pooled = pooled
        self.layer1 = nn.Sequential(ResNet12Block(3, CHANNELS[0]))
        self.layer2 = nn.Sequential(ResNet12Block(CHANNELS[0], CHANNELS[1]))
        self.layer3 = nn.Sequential(ResNet12Block(CHANNELS[1], CHANNELS[2]))
        self.layer4 = nn.Sequential(ResNet12Block(CHANNELS[2], CHANNELS[3]))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return z.mean((2, 3)) if self.pooled else z.flatten(1)
