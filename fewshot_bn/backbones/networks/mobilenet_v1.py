"""The first MobileNet, as its public checkpoint of width 0.25 has it."""

from jaxtyping import Float
from torch import Tensor, nn


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
