"""Support sets as coordinates in their own span: n numbers an image, or fewer, instead of d.

Weights that minimise a loss of scores W z + b plus a multiple of |W|² lie in the span of the centred support features
Z [n d]. With K = Z Zᵀ = U diag(λ) Uᵀ, the columns of x = diag(√λ) Uᵀ [r n] are coordinates of the images in an
orthonormal basis of that span, so W = θ diag(1/√λ) Uᵀ Z has the length and the scores of θ. Where d < n, the basis
comes from the d x d matrix Zᵀ Z = V diag(λ) Vᵀ instead: x = Vᵀ Zᵀ, and W = θ Vᵀ.

All arithmetic is float64, a few episodes at a time: the features are never all in float64 at once.

Shapes: z_s [e n d], z_q [e q d]; x [e r n], theta [e way r].
Source: Schölkopf, Herbrich and Smola 2001, "A generalized representer theorem".
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot_bn.adapters.probes.scaling import JointScaling, Scaling, scale

NUMBERS_AT_ONCE = 2**21  # 16 MiB in float64, which stays in a CPU's cache
ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Span:
    """Coordinates x of the support images, and what turns weights on them into weights on features.

    `squares` [e r] are the eigenvalues λ, the sums of squares of the rows of x.
    """

    x: Float[Tensor, "e r n"]
    squares: Float[Tensor, "e r"]
    back: Float[Tensor, "e r m"]

    def weights(self, theta: Float[Tensor, "p way r"], centred: Float[Tensor, "p n d"], part: slice) -> Tensor:
        """Weights [p way d] on the features of some episodes, whose centred support features are given."""
        coefficients = theta @ self.back[part]
        return coefficients @ centred if self.back.shape[2] == centred.shape[1] else coefficients

    def coordinates(
        self, z_s: Float[Tensor, "e n d"], z_q: Float[Tensor, "e q d"], *, scaling: Scaling
    ) -> Float[Tensor, "e r q"]:
        """Other images as seen from the span: for scores under many weights."""
        found = []
        for part, s, q in scaled_parts(z_s, z_q, scaling):
            mean = s.mean(1, keepdim=True)
            axes = self.weights(torch.eye(self.x.shape[1]).to(s).expand(len(s), -1, -1), s - mean, part)
            found.append(axes @ (q - mean).mT)
        return torch.cat(found)

    def scores(
        self,
        theta: Float[Tensor, "e way r"],
        intercept: Float[Tensor, "e way"],
        z_s: Float[Tensor, "e n d"],
        z_q: Float[Tensor, "e q d"],
        *,
        scaling: Scaling,
    ) -> Float[Tensor, "e q way"]:
        """Scores of the queries under weights and intercept for coordinates."""
        scores = []
        for part, s, q in scaled_parts(z_s, z_q, scaling):
            mean = s.mean(1, keepdim=True)
            weights = self.weights(theta[part], s - mean, part)
            scores.append(q @ weights.mT + (intercept[part, None] - mean @ weights.mT))
        return torch.cat(scores)


def span(z_s: Float[Tensor, "e n d"], scaling: Scaling = "raw") -> Span:
    """The span of the centred support features of each episode."""
    n, d = z_s.shape[1:]
    products, coordinates, lengths_before = [], [], []
    for _, s, _ in scaled_parts(z_s, z_s[:, :0], scaling):
        centred = s - s.mean(1, keepdim=True)
        products.append(gram(centred.mT if d < n else centred))
        lengths_before.append(s.square().sum((1, 2)))
        coordinates += [centred.mT] if d < n else []
    squares, axes = torch.linalg.eigh(_joined(products))
    # Directions that hold nothing but rounding errors, of the products or of the centring, are none.
    rounding = torch.maximum(squares[:, -1] * (1e-15 * n), torch.cat(lengths_before) * 1e-24)
    real = squares > rounding[:, None]
    squares = squares * real
    if d < n:
        back = axes.mT * real[:, :, None]
        return Span(back @ _joined(coordinates), squares, back)
    lengths = squares.sqrt()
    inverse = torch.where(real, 1 / lengths, 0)
    return Span(axes.mT * lengths[:, :, None], squares, axes.mT * inverse[:, :, None])


def _joined(parts: list[Tensor]) -> Tensor:
    """Without a copy where there is one part, which may be large."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def gram(z: Float[Tensor, "e n d"]) -> Float[Tensor, "e n n"]:
    """All products of two rows, those below the diagonal once."""
    k = z.new_empty(len(z), z.shape[1], z.shape[1])
    for start in range(0, z.shape[1], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = z[:, rows] @ z[:, : rows.stop].mT
        k[:, rows, : rows.stop], k[:, : rows.stop, rows] = block, block.mT
    return k


def scaled_parts(
    z_s: Float[Tensor, "e n d"], z_q: Float[Tensor, "e q d"], scaling: Scaling | JointScaling, *, beside: int = 0
) -> Iterator[tuple[slice, Float[Tensor, "p n d"], Float[Tensor, "p q d"]]]:
    """A few episodes at a time: which, and their features as `scaling` says.

    `beside` counts the numbers that the caller makes of each episode, besides its features.
    """
    size = max(1, NUMBERS_AT_ONCE // (z_s[0].numel() + z_q[0].numel() + beside))
    for start in range(0, len(z_s), size):
        part = slice(start, start + size)
        yield part, *scale(z_s[part], z_q[part], scaling)
