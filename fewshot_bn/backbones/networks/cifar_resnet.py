"""The residual networks for small images, with shortcuts that have no parameters."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

MOST_DEPTH = 1202  # of a published one


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
