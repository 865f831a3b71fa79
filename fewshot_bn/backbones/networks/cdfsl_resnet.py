"""The ResNet-10 of cross-domain few-shot learning."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class CdfslBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut that is projected where the number of channels changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.C1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.BN1 = nn.BatchNorm2d(n_out)
        self.C2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.BN2 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.is_projected = n_in != n_out
        if self.is_projected:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.BNshortcut = nn.BatchNorm2d(n_out)

    def forward(self, x: Float[Tensor, "b n_in h w"]) -> Float[Tensor, "b n_out h2 w2"]:
        shortcut = self.BNshortcut(self.shortcut(x)) if self.is_projected else x
        y = self.relu(self.BN1(self.C1(x)))
        z: Tensor = self.relu(self.BN2(self.C2(y)) + shortcut)
        return z


class CdfslResNet10(nn.Module):
    """One block per stage, d = 8 * width; the mean of all places, of which 224 px gives the 7 x 7 of the benchmark.

    Source: Guo et al. 2020, arXiv:1912.07200; parameter names of its code.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}, at least 1 is needed")
        n = [width * 2**stage for stage in range(4)]
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            CdfslBlock(width, n[0], 1),
            *(CdfslBlock(n_in, n_out, 2) for n_in, n_out in pairwise(n)),
        )

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        z: Tensor = self.trunk(x)
        return z.mean((2, 3))
