"""How a probe sees features: as they are, on the unit sphere, or standardised by the support set.

A transductive probe may also see them relative to means that the queries have a part in (`JointScaling`).

Shapes: z_s [e n d], z_q [e q d]; all arithmetic is float64.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Scaling = Literal["raw", "l2", "standard", "centred_l2"]
SCALINGS = (  # for whoever has a setting of this kind
    "features as the probe sees them: raw, as they are; l2, of unit length; standard, by mean and standard deviation "
    "of the images that it is fitted to; or centred_l2, less that mean and then of unit length"
)
JointScaling = Literal["raw", "l2", "centred_l2", "centred_all_l2", "centred_each_l2"]
JOINT_SCALINGS = (
    "features as the mode sees them: raw, as they are; l2, of unit length; or less a mean and then of unit length: "
    "centred_l2, that of the support images; centred_all_l2, that of support and query images; or centred_each_l2, "
    "support images less theirs and queries less theirs"
)
Scaled = tuple[Float[Tensor, "e n d"], Float[Tensor, "e q d"]]


def scale(z_s: Float[Tensor, "e n d"], z_q: Float[Tensor, "e q d"], scaling: Scaling | JointScaling) -> Scaled:
    """Support and query features on the same footing.

    `l2` divides each feature vector by its length; `standard` takes off the mean of the support set and divides by its
    standard deviation, feature by feature, leaving a feature that never changes at zero; `centred_l2` takes off the
    mean of the support set and divides by the length of what is left (Wang et al. 2019, arXiv:1911.04623, "CL2N"), as
    do `centred_all_l2` with the mean of all images of the episode and `centred_each_l2` with one mean for the support
    set and one for the queries (Liu et al. 2020, arXiv:1911.10713, there without the lengths).
    """
    z_s, z_q = z_s.double(), z_q.double()
    if scaling == "raw":
        return z_s, z_q
    if scaling == "l2":
        return _unit(z_s), _unit(z_q)
    if scaling == "centred_each_l2":
        return _unit(z_s - z_s.mean(1, keepdim=True)), _unit(z_q - z_q.mean(1, keepdim=True))
    mean = (torch.cat([z_s, z_q], 1) if scaling == "centred_all_l2" else z_s).mean(1, keepdim=True)
    z_s, z_q = z_s - mean, z_q - mean
    if scaling != "standard":
        return _unit(z_s), _unit(z_q)
    std = z_s.square().mean(1, keepdim=True).sqrt()
    changes = std > 1e-12 * mean.abs()
    inverse = torch.where(changes, 1 / std, 0)
    return z_s * inverse, z_q * inverse


def _unit(z: Float[Tensor, "e n d"]) -> Float[Tensor, "e n d"]:
    length = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    return z / torch.where(length > 0, length, 1)
