"""The ridge probe: regression to one-hot targets, in closed form, with the penalty chosen by exact leave-one-out.

Objective: Σ_i |y_i - W z_i - b|² + α |W|², the intercept b not penalised. In the span of the support set (span.py)
the rows of the coordinates x are orthogonal with sums of squares λ, so with centred targets Y the weights for any α are
θ = Y xᵀ diag(1 / (λ + α)). The fit is linear in the targets with the matrix H = xᵀ diag(1 / (λ + α)) x + 11ᵀ/n, so the
residual of image i under the fit to all others is (y_i - ŷ_i) / (1 - H_ii). The α with the smallest sum of their
squares is taken from 49 values around the mean eigenvalue.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Source: Allen 1974, "The relationship between variable selection and data augmentation and a method for prediction".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_finite, check_not_negative, count_ways
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import Span, span
from fewshot_bn.settings import setting

GRID = torch.logspace(-6, 6, 49, dtype=torch.float64)  # of α, relative to the mean eigenvalue


@dataclass(frozen=True, slots=True)
class Ridge:
    """Linear regression to one-hot targets with an L2 penalty."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    alpha: float = setting(0.0, "factor of the penalty; 0: chosen by exact leave-one-out", source="Allen 1974")
    scaling: Scaling = setting("l2", SCALINGS, source="study")

    def __post_init__(self) -> None:
        check_not_negative(alpha=self.alpha)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        y = F.one_hot(y_s, count_ways(y_s)).double().mT
        frequencies = y.mean(2)
        space = span(z_s, self.scaling)
        targets = y - frequencies[:, :, None]
        alpha = torch.full_like(frequencies[:, 0], self.alpha) if self.alpha else leave_one_out(space, targets)
        theta = targets @ space.x.mT / (space.squares + alpha[:, None])[:, None]
        logits = space.scores(theta, frequencies, z_s, z_q, scaling=self.scaling)
        steps = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return Fit(logits, steps, torch.ones_like(steps, dtype=torch.bool), {"alpha": alpha})


def leave_one_out(space: Span, targets: Float[Tensor, "e way n"]) -> Float[Tensor, "e"]:
    """The penalty with the smallest squared leave-one-out error."""
    n_way, n = targets.shape[1:]
    mean = (space.squares.sum(1) / n).clamp_min(1e-200)  # features that never change have none
    alphas = GRID.to(mean) * mean[:, None]
    inverse = 1 / (space.squares[:, None] + alphas[:, :, None])
    theta = (targets @ space.x.mT)[:, None] * inverse[:, :, None]
    fitted = (theta.flatten(1, 2) @ space.x).unflatten(1, (len(GRID), n_way))
    leverage = inverse @ space.x.square() + 1 / n
    errors = ((targets[:, None] - fitted) / (1 - leverage)[:, :, None]).square().sum((2, 3))
    return alphas.gather(1, errors.argmin(1, keepdim=True))[:, 0]
