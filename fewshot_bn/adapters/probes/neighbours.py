"""Graphs of images: each is joined to those that are nearest to it.

Shapes: z [e m d], the images of an episode; graphs [e m m].
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewshot_bn.adapters.probes.proto import squared_distances

ROUNDING = 1e-12  # of the largest squared length around the mean; distances that differ by less are equal
NEIGHBOURS = "nearest images that each {} is joined to; all others where there are fewer"


def graph(
    z: Float[Tensor, "e m d"], k: int
) -> tuple[Bool[Tensor, "e m m"], Float[Tensor, "e m m"], Float[Tensor, "e 1 1"]]:
    """Who is joined to whom, all squared distances, and what part of these may be rounding.

    An image is joined to the k others that are nearest, and to those that are as near as the last of these, so the
    graph does not depend on the order of the images. The relation goes one way: i's neighbours are in row i.
    """
    n_images = z.shape[1]
    distances = squared_distances(z, z).clamp_min(0)
    lengths = (z - z.mean(1, keepdim=True)).square().sum(-1)
    rounding = ROUNDING * lengths.amax(1)[:, None, None]
    itself = torch.eye(n_images, dtype=torch.bool, device=z.device)
    if n_images == 1:
        return torch.zeros_like(distances, dtype=torch.bool), distances, rounding
    others = distances.masked_fill(itself, torch.inf)
    last = others.topk(min(k, n_images - 1), largest=False).values[..., -1:]
    return others <= last + rounding, distances, rounding
