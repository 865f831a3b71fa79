"""The wide residual networks of few-shot learning, such as WRN-28-10."""

from jaxtyping import Float
from torch import Tensor, nn

MOST_DEPTH = 100


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after norm and ReLU; a projected shortcut follows the first of these."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.convShortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False) if n_in != n_out else None

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        y = self.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        z: Tensor = self.conv2(self.relu(self.bn2(self.conv1(y)))) + shortcut
        return z


class WideStage(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, n_in: int, n_out: int, n_blocks: int, stride: int) -> None:
        super().__init__()
        blocks = (WideBlock(n_out, n_out, 1) for _ in range(n_blocks - 1))
        self.layer = nn.Sequential(WideBlock(n_in, n_out, stride), *blocks)

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        z: Tensor = self.layer(x)
        return z


class WideResNet(nn.Module):
    """WRN-depth-widening; d = 64 * widening, the mean of all places.

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146; parameter names as in Mangla et al. 2020, arXiv:1907.12087.
    """

    def __init__(self, depth: int = 28, widening: int = 10) -> None:
        super().__init__()
        if (depth - 4) % 6 or not 10 <= depth <= MOST_DEPTH or widening < 1:
            raise ValueError(
                f"a wide ResNet has depth 6k + 4 from 10 to {MOST_DEPTH} and widening from 1 on, not {depth}-{widening}"
            )
        n_blocks = (depth - 4) // 6
        n = [16, *(16 * 2**stage * widening for stage in range(3))]
        self.conv1 = nn.Conv2d(3, n[0], 3, padding=1, bias=False)
        self.block1 = WideStage(n[0], n[1], n_blocks, 1)
        self.block2 = WideStage(n[1], n[2], n_blocks, 2)
        self.block3 = WideStage(n[2], n[3], n_blocks, 2)
        self.bn1 = nn.BatchNorm2d(n[3])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.block3(self.block2(self.block1(self.conv1(x))))
        features: Tensor = self.relu(self.bn1(z)).mean((2, 3))
        return features
