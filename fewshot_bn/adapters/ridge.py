"""The ridge probe: regression to one-hot targets, in closed form, with the penalty chosen by exact leave-one-out.

Objective: Σ_i |y_i - W z_i - b|² + α |W|², the intercept b not penalised. With the centred features Z and targets Y of
the support set, K = Z Zᵀ = U diag(λ) Uᵀ, so one eigendecomposition gives the solution for every α:
(K + αI)⁻¹ Y = U diag(1 / (λ + α)) Uᵀ Y. The fit is linear in the targets with the matrix H = K (K + αI)⁻¹ + 11ᵀ/n, so
the residual of image i under the fit to all others is (y_i - ŷ_i) / (1 - H_ii). The α with the smallest sum of their
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
from fewshot_bn.adapters.scaling import Scaling, scale


@dataclass(frozen=True, slots=True)
class Ridge:
    """`alpha` is the penalty; 0 stands for the choice by leave-one-out."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    alpha: float = 0.0
    scaling: Scaling = "raw"

    def __post_init__(self) -> None:
        check_not_negative(alpha=self.alpha)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        y = F.one_hot(y_s, count_ways(y_s)).double()
        z_s, z_q = scale(z_s, z_q, self.scaling)
        mean, y_mean = z_s.mean(1, keepdim=True), y.mean(1, keepdim=True)
        z_s, z_q, y = z_s - mean, z_q - mean, y - y_mean
        eigenvalues, u = torch.linalg.eigh(z_s @ z_s.mT)
        eigenvalues = eigenvalues.clamp_min(0)
        fixed = torch.full_like(eigenvalues[:, :1], self.alpha)
        alpha = fixed if self.alpha else leave_one_out(eigenvalues, u, y)
        dual = u @ ((u.mT @ y) / (eigenvalues + alpha)[:, :, None])
        logits = z_q @ z_s.mT @ dual + y_mean
        steps = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return Fit(logits, steps, torch.ones_like(steps, dtype=torch.bool))


def leave_one_out(
    eigenvalues: Float[Tensor, "e n"], u: Float[Tensor, "e n n"], y: Float[Tensor, "e n way"]
) -> Float[Tensor, "e 1"]:
    """The penalty with the smallest squared leave-one-out error, of 49 from 1e-6 to 1e6 times the mean eigenvalue."""
    n = y.shape[1]
    middle = eigenvalues.mean(1, keepdim=True).clamp_min(1e-200)  # features that never change have none
    grid = torch.logspace(-6, 6, 49, dtype=y.dtype, device=y.device)
    projected = u.mT @ y
    errors = []
    for factor in grid:
        kept = eigenvalues / (eigenvalues + factor * middle)
        residual = y - u @ (kept[:, :, None] * projected)
        leverage = (u.square() @ kept[:, :, None]) + 1 / n
        errors.append((residual / (1 - leverage)).square().sum((1, 2)))
    best = torch.stack(errors).argmin(0)
    return grid[best][:, None] * middle
