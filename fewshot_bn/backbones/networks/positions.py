"""Position embeddings of square images, for images of another size.

Source: Caron et al. 2021, arXiv:2104.14294, whose code interpolates so.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

MARGIN = 0.1  # of a patch, without which rounding may lose a row


def positions_for(table: Float[Tensor, "1 n d"], height: int, width: int) -> Float[Tensor, "1 m d"]:
    """The embeddings of `height` x `width` patches, after that of the class; those between are bicubic."""
    side = math.isqrt(table.shape[1] - 1)
    if (height, width) == (side, side):
        return table
    grid = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scales = ((height + MARGIN) / side, (width + MARGIN) / side)
    grid = F.interpolate(grid, scale_factor=scales, mode="bicubic")
    return torch.cat((table[:, :1], grid.flatten(2).transpose(1, 2)), dim=1)
