"""Heads of tuned adapters: a linear layer, or the nearest class mean of the support features.

A linear layer starts at zero, small random numbers, prototypes, or the solution of the logistic probe. The nearest
class mean has no values of its own: its scores follow from the support features of the same network.

Shapes: features z_s [e n d], y_s [e n], z [e b d]; weight [e way d], bias [e way]; scores [e b way].
Sources: prototypes as a linear layer: Snell et al. 2017, arXiv:1703.05175, eq. 8; the probe's solution as the start of
fine-tuning: Kumar et al. 2022, arXiv:2202.10054 (LP-FT); cosines to class means, times 10: Li et al. 2022,
arXiv:2107.00358.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn import rng
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.proto import class_means
from fewshot_bn.adapters.tuning.settings import TuningSettings

Features = Callable[[], Float[Tensor, "e n d"]]
Scores = Callable[[Float[Tensor, "e b d"]], Float[Tensor, "e b way"]]


@runtime_checkable
class Head(Protocol):
    """What gives scores of features; `values` are to be trained."""

    @property
    def values(self) -> Sequence[Tensor]: ...

    def fitted(self, z_s: Features, y_s: Int64[Tensor, "e n"]) -> Scores:
        """The head where `z_s()` gives the support features; only a head that depends on them asks for them."""
        ...


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear layer per episode: z Wᵀ + b."""

    weight: nn.Parameter
    bias: nn.Parameter

    @property
    def values(self) -> Sequence[Tensor]:
        return self.weight, self.bias

    def fitted(self, z_s: Features, y_s: Int64[Tensor, "e n"]) -> Scores:
        del z_s, y_s
        return self

    def __call__(self, z: Float[Tensor, "e b d"]) -> Float[Tensor, "e b way"]:
        return torch.baddbmm(self.bias[:, None], z, self.weight.mT)


@dataclass(frozen=True, slots=True)
class NearestMean:
    """Scores are the cosines to the class means of the support features, times `scale`."""

    n_way: int
    scale: float

    @property
    def values(self) -> Sequence[Tensor]:
        return ()

    def fitted(self, z_s: Features, y_s: Int64[Tensor, "e n"]) -> Scores:
        means = F.normalize(class_means(z_s(), y_s, self.n_way), dim=-1)
        return lambda z: self.scale * torch.bmm(F.normalize(z, dim=-1), means.mT)


def seen(z: Float[Tensor, "e b d"], scaling: Literal["raw", "l2"]) -> Float[Tensor, "e b d"]:
    """Features as a head sees them: as they are, or of unit length."""
    return F.normalize(z, dim=-1) if scaling == "l2" else z


def start_head(
    settings: TuningSettings,
    size: tuple[int, int],
    z_s: Features,
    y_s: Int64[Tensor, "e n"],
    *,
    seeds: Sequence[int],
    like: Float[Tensor, "e *size"],
) -> Head:
    """The head of `size` [way d] before the training, a row per episode and of the kind of `like`."""
    if settings.head == "ncm":
        return NearestMean(size[0], settings.cosine_scale)
    if settings.head == "zero":
        return zero_head(like, *size)
    if settings.head == "normal":
        return normal_head(like, *size, std=settings.head_std, seeds=seeds)
    if settings.head == "proto":
        return prototype_head(z_s(), y_s, size[0])
    probe = LogisticRegression(C=settings.C, select="fixed", scaling="raw", tolerance=1e-10)
    return probe_head(z_s(), y_s, probe)


def zero_head(like: Float[Tensor, "e *size"], n_way: int, dim: int) -> LinearHead:
    """All zero, one per row of `like` and of its kind."""
    return _head(like.new_zeros(len(like), n_way, dim), like.new_zeros(len(like), n_way))


def normal_head(
    like: Float[Tensor, "e *size"], n_way: int, dim: int, *, std: float, seeds: Sequence[int]
) -> LinearHead:
    """Weights N(0, std²), from the seed of each episode; bias zero."""
    drawn = [torch.randn(n_way, dim, generator=rng.torch_generator(seed, "head")) for seed in seeds]
    return _head(std * torch.stack(drawn).to(like), like.new_zeros(len(like), n_way))


def prototype_head(z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], n_way: int) -> LinearHead:
    """Scores ordered as negative squared distances to the class means: 2 z·μ - |μ|²."""
    means = class_means(z_s, y_s, n_way)
    return _head(2 * means, -means.square().sum(-1))


def probe_head(z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], probe: LogisticRegression) -> LinearHead:
    """The solution of the logistic probe on these features."""
    weight, bias = probe.coefficients(z_s, y_s)
    return _head(weight.to(z_s.dtype), bias.to(z_s.dtype))


def _head(weight: Tensor, bias: Tensor) -> LinearHead:
    return LinearHead(nn.Parameter(weight), nn.Parameter(bias))
