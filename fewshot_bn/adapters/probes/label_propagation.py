"""Label propagation: the labels of the support images spread over a graph of all images of the episode. Transductive.

Each image is joined to its k nearest others, and two images are joined if either is joined to the other. An edge of
length l has the weight exp(-l² / (2 σ²)), where σ is `width` times the root mean square length of the edges of its
episode, and no weight is below e^-50. With W the matrix of weights, D its row sums on a diagonal,
S = D^-½ W D^-½ and the labels Y of the support images (rows of zeros for queries), F = (I - α S)⁻¹ Y says how much of
each label reaches each image. I - α S is symmetric and positive definite, so F comes from its Cholesky factor.

A group of queries may have all its neighbours within itself, so that no label reaches it. Each query of such a group is
joined to the support image that is nearest to it as well (`unreached` counts these queries). Otherwise the graph is as
published.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way] are logarithms of the shares of the classes in F.
Raises: `UsageError` for settings out of range; `DataError` for features or labels that no probe takes.
Sources: Zhou et al. 2004, "Learning with local and global consistency"; the graph of Liu et al. 2019,
arXiv:1805.10002, section 3.2, except that σ is not learned.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_at_least, check_finite, check_positive, count_ways
from fewshot_bn.adapters.probes.neighbours import NEIGHBOURS, graph
from fewshot_bn.adapters.probes.scaling import JOINT_SCALINGS, JointScaling
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

LARGEST_EXPONENT = 50.0
LARGEST_ALPHA = 0.999999  # the closer to 1, the closer is the system to a singular one
LEAST_WIDTH = 1e-30  # its square is still a number
LEAST_SHARE = 1e-12  # is added to shares, which may be 0
SQUARES = 6  # matrices of the size of the graph that are alive together


@dataclass(frozen=True, slots=True)
class LabelPropagation:
    """Labels spread along the edges of a graph of nearest neighbours, solved at once."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = True
    scaling: JointScaling = setting("centred_all_l2", JOINT_SCALINGS, source="study")
    neighbours: int = setting(20, NEIGHBOURS.format("image"), source="Liu et al. 2019")
    alpha: float = setting(0.5, "share of the neighbours in an image's labels, below 1", source="study")
    width: float = setting(0.3, "of the Gaussian of distances, relative to the edges of the graph", source="study")

    def __post_init__(self) -> None:
        check_positive(neighbours=self.neighbours)
        check_at_least(LEAST_WIDTH, width=self.width)
        if not 0 < self.alpha <= LARGEST_ALPHA:
            raise UsageError(f"alpha is {self.alpha}; it must be above 0 and at most {LARGEST_ALPHA}")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        labels = F.one_hot(y_s, count_ways(y_s)).double()
        beside = SQUARES * (z_s.shape[1] + z_q.shape[1]) ** 2
        parts = scaled_parts(z_s, z_q, self.scaling, beside=beside)
        reached, unreached = zip(
            *(self._reach(torch.cat([s, q], 1), labels[part]) for part, s, q in parts), strict=True
        )
        amounts = torch.cat(reached)
        logits = (amounts / amounts.sum(-1, keepdim=True) + LEAST_SHARE).log()
        steps = torch.zeros(len(z_s), dtype=torch.int64, device=z_s.device)
        return Fit(logits, steps, torch.ones_like(steps, dtype=torch.bool), {"unreached": torch.cat(unreached)})

    def _reach(
        self, z: Float[Tensor, "e m d"], labels: Float[Tensor, "e n way"]
    ) -> tuple[Float[Tensor, "e q way"], Float[Tensor, "e"]]:
        """How much of each label reaches each query, and how many queries it had to be helped to."""
        n = labels.shape[1]
        joined, distances, rounding = graph(z, self.neighbours)
        joined = joined | joined.mT
        mean = (distances * joined).sum((1, 2), keepdim=True) / joined.sum((1, 2), keepdim=True)
        unit = torch.where(mean > rounding, 2 * self.width**2 * mean, torch.inf)  # images that are all alike
        weights = (-(distances / unit).clamp_max(LARGEST_EXPONENT)).exp()
        amounts = spread(weights * joined, labels, self.alpha)
        lost = amounts.sum(-1) == 0
        if bool(lost.any()):
            nearest = distances[:, n:, :n]
            bridges = F.pad((nearest <= nearest.amin(2, keepdim=True) + rounding) & lost[..., None], (0, 0, n, 0))
            joined = joined | F.pad(bridges, (0, len(z[0]) - n))
            joined = joined | joined.mT
            amounts = spread(weights * joined, labels, self.alpha)
        return amounts, lost.sum(1).double()


def spread(weights: Float[Tensor, "e m m"], labels: Float[Tensor, "e n way"], alpha: float) -> Float[Tensor, "e q way"]:
    """Rows of (I - α S)⁻¹ Y for the queries, which come after the n support images. Never negative.

    The matrix has no positive entry off its diagonal, so neither factor nor solution has differences that cancel.
    """
    scale = weights.sum(2).rsqrt()
    system = torch.eye(weights.shape[1]).to(weights) - alpha * scale[:, :, None] * weights * scale[:, None]
    factor = torch.linalg.cholesky(system)
    padded = F.pad(labels, (0, 0, 0, weights.shape[1] - labels.shape[1]))
    return torch.cholesky_solve(padded, factor)[:, labels.shape[1] :]
