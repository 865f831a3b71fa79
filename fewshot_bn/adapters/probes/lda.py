"""Linear discriminant analysis: normal classes that share one covariance, shrunk so that few images can give it.

Scores: z·Σ⁻¹μ_k - ½ μ_k·Σ⁻¹μ_k + log π_k, with the means μ_k and frequencies π_k of the classes in the support set and
z and μ_k relative to the mean of the support set; their softmax is the posterior. With S the covariance of the n images
around the means of their classes, Σ = (1 - s) S + s (tr S / d) I. The rows of Σ⁻¹μ lie in the span of the support set,
where S is at most n x n; d enters through tr S / d alone.

Ledoit and Wolf's amount for images w_i around their class means is s = min(b², a²) / a², where a² = |S - (tr S / d) I|²
is the distance to the target and b² = Σ_i |w_i w_iᵀ - S|² / n² the error of S. Both follow from the products w_i·w_j:
|S|² = Σ_ij (w_i·w_j)² / n² and b² = (Σ_i |w_i|⁴ / n - |S|²) / n.

Where the images of each class coincide, as with 1 shot, there is no S: Σ = I, so that the nearest class mean decides
(among classes of one size) with half the scores of `Prototypes`, up to what is common to all classes.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Raises: `UsageError` for a shrinkage outside of 0..1; `DataError` for features or labels that no probe takes.
Sources: Friedman 1989, "Regularized discriminant analysis"; Ledoit and Wolf 2004, "A well-conditioned estimator for
large-dimensional covariance matrices".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_finite, count_ways
from fewshot_bn.adapters.probes.proto import class_means
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import span
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

LEAST = 1e-8  # without any shrinkage Σ could not be inverted
ROUNDING = 1e-12  # of all squares; what is left around the class means of images that coincide


@dataclass(frozen=True, slots=True)
class LinearDiscriminant:
    """Normal classes with a shared covariance, shrunk towards a multiple of the unit matrix."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    shrinkage: float = setting(
        0.0,
        "share of the unit matrix in the covariance, up to 1; 0: the amount of Ledoit and Wolf",
        source="Ledoit and Wolf 2004",
    )
    scaling: Scaling = setting("l2", SCALINGS, source="study")

    def __post_init__(self) -> None:
        if not 0 <= self.shrinkage <= 1:
            raise UsageError(f"shrinkage is {self.shrinkage}; it must be at least 0 and at most 1")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        n_way, dim = count_ways(y_s), z_s.shape[2]
        support = span(z_s, self.scaling)
        x = support.x.mT
        y = F.one_hot(y_s, n_way).to(x.dtype)
        means = class_means(x, y_s, n_way)
        factor = torch.linalg.cholesky(self._covariance(x, x - y @ means, dim))
        theta = torch.cholesky_solve(means.mT, factor).mT
        intercept = y.mean(1).log() - (theta * means).sum(-1) / 2
        logits = support.scores(theta, intercept, z_s, z_q, scaling=self.scaling)
        steps = torch.zeros(len(z_s), dtype=torch.int64, device=z_s.device)
        return Fit(logits, steps, converged=torch.ones_like(steps, dtype=torch.bool))

    def _covariance(
        self, x: Float[Tensor, "e n r"], within: Float[Tensor, "e n r"], dim: int
    ) -> Float[Tensor, "e r r"]:
        """Σ in coordinates, from those of the images and of the images relative to their class means."""
        given = x.new_full((len(x), 1, 1), self.shrinkage)
        amount = (given if self.shrinkage else ledoit_wolf(within, dim)[:, None, None]).clamp_min(LEAST)
        squares = within.square().sum((1, 2), keepdim=True)
        eye = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
        shrunk = (1 - amount) * (within.mT @ within) + amount * squares / dim * eye
        scattered = squares > ROUNDING * x.square().sum((1, 2), keepdim=True)
        return torch.where(scattered, shrunk / x.shape[1], eye)


def ledoit_wolf(within: Float[Tensor, "e n r"], dim: int) -> Float[Tensor, "e"]:
    """The amount of shrinkage for images relative to their class means, of `dim` features in r <= dim coordinates."""
    n = within.shape[1]
    products = within @ within.mT
    lengths = products.diagonal(dim1=1, dim2=2)
    square = products.square().sum((1, 2)) / n**2
    distance = square - (lengths.sum(1) / n).square() / dim
    error = (lengths.square().sum(1) / n - square) / n
    return torch.where(distance > 0, error / distance, 1).clamp(0, 1)  # on the target any amount is the same
