"""Laplacian-regularised assignment: near the mean of its class, and of the same class as its neighbours. Transductive.

With the shares y_q of the classes for query q, a_q the squared distances to the class means of the support set divided
by T, and w_qp > 0 for queries that are neighbours, the shares are to minimise
Σ_q y_q·log y_q + Σ_q a_q·y_q - λ/2 Σ_qp w_qp y_q·y_p. For shares of 0 and 1 the last two sums are, up to a constant,
the distances to the means of the classes plus λ/4 Σ_qp w_qp |y_q - y_p|². A step replaces all shares together:
y_q = softmax(-a_q + λ Σ_p w_qp y_p), from y_q = softmax(-a_q). A query is joined to its k nearest others; w_qp is half
the number of directions in which q and p are joined, since no more than the symmetric part of a graph enters the sum.

An episode stops if no share changed by more than `tolerance`, and has then converged.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way] are -a_q + λ Σ_p w_qp y_p of the last step.
Raises: `UsageError` for settings out of range; `DataError` for features or labels that no probe takes.
Source: Ziko et al. 2020, arXiv:2006.15486, eq. 2-7 and algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import (
    Fit,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
    count_ways,
)
from fewshot_bn.adapters.probes.neighbours import NEIGHBOURS, graph
from fewshot_bn.adapters.probes.proto import class_means, squared_distances
from fewshot_bn.adapters.probes.scaling import JOINT_SCALINGS, JointScaling
from fewshot_bn.adapters.probes.soft_kmeans import LEAST_TEMPERATURE
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.settings import setting

SQUARES = 4  # matrices of the size of the graph that are alive together


@dataclass(frozen=True, slots=True)
class LaplacianAssignment:
    """Nearest class mean, with a reward for neighbours of the same class."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = True
    scaling: JointScaling = setting("centred_all_l2", JOINT_SCALINGS, source="study")
    temperature: float = setting(1.0, "squared distances are divided by it", source="Ziko et al. 2020")
    neighbours: int = setting(3, NEIGHBOURS.format("query"), source="Ziko et al. 2020")
    strength: float = setting(0.3, "factor λ of the reward for neighbours of the same class", source="study")
    tolerance: float = setting(1e-6, "an episode stops if no share changed by more than this")
    max_steps: int = setting(100, "most steps")

    def __post_init__(self) -> None:
        check_at_least(LEAST_TEMPERATURE, temperature=self.temperature)
        check_positive(neighbours=self.neighbours, max_steps=self.max_steps)
        check_not_negative(strength=self.strength, tolerance=self.tolerance)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        n_way, beside = count_ways(y_s), SQUARES * z_q.shape[1] ** 2
        fits = []
        for part, s, q in scaled_parts(z_s, z_q, self.scaling, beside=beside):
            alone = -squared_distances(q, class_means(s, y_s[part], n_way)) / self.temperature
            joined = graph(q, self.neighbours)[0].double()
            fits.append(self._settle(alone, self.strength / 2 * (joined + joined.mT)))
        logits, steps, settled = (torch.cat(values) for values in zip(*fits, strict=True))
        return Fit(logits, steps, settled)

    def _settle(
        self, alone: Float[Tensor, "e q way"], weights: Float[Tensor, "e q q"]
    ) -> tuple[Float[Tensor, "e q way"], Int64[Tensor, "e"], Bool[Tensor, "e"]]:
        """Scores, steps and convergence, from the scores of each query alone."""
        scores, shares = alone, alone.softmax(-1)
        steps = torch.zeros(len(alone), dtype=torch.int64, device=alone.device)
        settled = torch.zeros_like(steps, dtype=torch.bool)
        for _ in range(self.max_steps):
            new = alone + weights @ shares
            steps += ~settled
            scores = torch.where(settled[:, None, None], scores, new)
            change = (scores.softmax(-1) - shares).abs().amax((1, 2))
            shares = scores.softmax(-1)
            settled = settled | (change <= self.tolerance)
            if bool(settled.all()):
                break
        return scores, steps, settled
