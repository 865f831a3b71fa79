"""Soft k-means: class means that the queries of the episode refine. Transductive.

Query j belongs to class c with the share a_jc = softmax_c(-|z_j - p_c|² / T), a support image to its own class. A step
puts each mean to p_c = (Σ_{i in c} z_i + Σ_j a_jc z_j) / (n_c + Σ_j a_jc), over support images i and queries j. It
begins with the means of the support images, so without steps this is `Prototypes` with distances divided by T.

In the paper the images without labels are others than the queries; here they are the queries.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way] are -|z_j - p_c|² / T after the last step.
Raises: `UsageError` for settings out of range; `DataError` for features or labels that no probe takes.
Source: Ren et al. 2018, arXiv:1803.00676, eq. 3.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_at_least, check_finite, check_not_negative, count_ways
from fewshot_bn.adapters.probes.proto import squared_distances
from fewshot_bn.adapters.probes.scaling import JOINT_SCALINGS, JointScaling
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.settings import setting

LEAST_TEMPERATURE = 1e-30  # so that no squared distance of float32 features is too large when divided by it


@dataclass(frozen=True, slots=True)
class SoftKMeans:
    """Class means of support images and of queries, these by their shares. So many steps are taken, whatever comes."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = True
    scaling: JointScaling = setting("centred_all_l2", JOINT_SCALINGS, source="study")
    temperature: float = setting(0.1, "squared distances are divided by it", source="study")
    steps: int = setting(1, "refinements of the class means", source="Ren et al. 2018")

    def __post_init__(self) -> None:
        check_at_least(LEAST_TEMPERATURE, temperature=self.temperature)
        check_not_negative(steps=self.steps)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        member = F.one_hot(y_s, count_ways(y_s)).double()
        logits = [self._scores(s, member[part], q) for part, s, q in scaled_parts(z_s, z_q, self.scaling)]
        steps = torch.full((len(z_s),), self.steps, dtype=torch.int64, device=z_s.device)
        return Fit(torch.cat(logits), steps, converged=torch.ones_like(steps, dtype=torch.bool))

    def _scores(
        self, z_s: Float[Tensor, "e n d"], member: Float[Tensor, "e n way"], z_q: Float[Tensor, "e q d"]
    ) -> Float[Tensor, "e q way"]:
        sums, counts = member.mT @ z_s, member.sum(1)[:, :, None]
        scores = -squared_distances(z_q, sums / counts) / self.temperature
        for _ in range(self.steps):
            shares = scores.softmax(-1).mT
            means = (sums + shares @ z_q) / (counts + shares.sum(2, keepdim=True))
            scores = -squared_distances(z_q, means) / self.temperature
        return scores
