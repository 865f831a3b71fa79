"""Where the linear head of a tuned adapter starts: zero, small random numbers, prototypes, or the logistic probe.

Shapes: features z_s [e n d], y_s [e n]; weight [e way d], bias [e way], so that logits are z Wᵀ + b.
Sources: prototypes as a linear layer: Snell et al. 2017, arXiv:1703.05175, eq. 8; the probe's solution as the start of
fine-tuning: Kumar et al. 2022, arXiv:2202.10054 (LP-FT).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn import rng
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.proto import class_means


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer per episode."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __call__(self, z: Float[Tensor, "e b d"]) -> Float[Tensor, "e b way"]:
        return torch.baddbmm(self.bias[:, None], z, self.weight.mT)


def seen(z: Float[Tensor, "e b d"], scaling: Literal["raw", "l2"]) -> Float[Tensor, "e b d"]:
    """Features as a head sees them: as they are, or of unit length."""
    return F.normalize(z, dim=-1) if scaling == "l2" else z


def zero_head(like: Float[Tensor, "e *size"], n_way: int, dim: int) -> Head:
    """All zero, one per row of `like` and of its kind."""
    return _head(like.new_zeros(len(like), n_way, dim), like.new_zeros(len(like), n_way))


def normal_head(like: Float[Tensor, "e *size"], n_way: int, dim: int, *, std: float, seeds: Sequence[int]) -> Head:
    """Weights N(0, std²), from the seed of each episode; bias zero."""
    drawn = [torch.randn(n_way, dim, generator=rng.torch_generator(seed, "head")) for seed in seeds]
    return _head(std * torch.stack(drawn).to(like), like.new_zeros(len(like), n_way))


def prototype_head(z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], n_way: int) -> Head:
    """Scores ordered as negative squared distances to the class means: 2 z·μ - |μ|²."""
    means = class_means(z_s, y_s, n_way)
    return _head(2 * means, -means.square().sum(-1))


def probe_head(z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], probe: LogisticRegression) -> Head:
    """The solution of the logistic probe on these features."""
    weight, bias = probe.coefficients(z_s, y_s)
    return _head(weight.to(z_s.dtype), bias.to(z_s.dtype))


def _head(weight: Tensor, bias: Tensor) -> Head:
    return Head(nn.Parameter(weight), nn.Parameter(bias))
