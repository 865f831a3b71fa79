"""Prototypes: the nearest class mean of the frozen features decides.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way] are negative squared Euclidean distances.
Source: Snell et al. 2017, arXiv:1703.05175, eq. 1-2.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_finite, count_ways
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.settings import setting


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Nearest class mean."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    scaling: Scaling = setting("raw", SCALINGS, source="Snell et al. 2017")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        n_way = count_ways(y_s)
        logits = [
            -squared_distances(q, class_means(s, y_s[part], n_way))
            for part, s, q in scaled_parts(z_s, z_q, self.scaling)
        ]
        steps = torch.zeros(len(z_s), dtype=torch.int64, device=z_s.device)
        return Fit(torch.cat(logits), steps, converged=torch.ones_like(steps, dtype=torch.bool))


def squared_distances(z: Float[Tensor, "e q d"], to: Float[Tensor, "e m d"]) -> Float[Tensor, "e q m"]:
    """Squared Euclidean distances; taken from the mean of `to`, which leaves them as they are but for rounding."""
    origin = to.mean(1, keepdim=True)
    z, to = z - origin, to - origin
    return z.square().sum(-1, keepdim=True) - 2 * z @ to.mT + to.square().sum(-1)[:, None]


def class_means(z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], n_way: int) -> Float[Tensor, "e way d"]:
    """The mean of each class."""
    member = F.one_hot(y_s, n_way).to(z_s.dtype)
    return member.mT @ z_s / member.sum(1)[:, :, None]
