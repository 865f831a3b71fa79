"""The four-block convolutional network of few-shot learning."""

from jaxtyping import Float
from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max-pooling, flattened (84 px gives 1600).

    Source: Vinyals et al. 2016, arXiv:1606.04080; parameter names as in Snell et al. 2017, arXiv:1703.05175.
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
