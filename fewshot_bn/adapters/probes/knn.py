"""Nearest neighbours: the classes of the k support images that are closest to a query vote.

Each neighbour has one vote, or 1 / distance votes (if some are at distance 0, they alone vote, equally). The scores are
logarithms of shares of the vote, to which one image's vote is added that belongs to all classes equally, so that no
class has a share of 0: log((k · share + 1 / way) / (k + 1)).

Ties: of equally near images the one of the lower class counts as nearer; of classes with equal votes (a difference of
less than a millionth of all) the one with the nearest image wins.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Raises: `UsageError` for a k below 1 or above the number of support images; `DataError` for features or labels that no
probe takes.
Source: Cover and Hart 1967, "Nearest neighbor pattern classification".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, check_finite, check_positive, count_ways
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling, scale
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

TIE = 1e-6


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """The vote of the nearest support images."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    k: int = setting(1, "neighbours that vote", source="Cover and Hart 1967")
    metric: Literal["euclidean", "cosine"] = setting(
        "euclidean", "distance: euclidean, or cosine, one minus the cosine of the angle"
    )
    weights: Literal["uniform", "distance"] = setting(
        "uniform", "votes: uniform, one each; or distance, by the inverse of the distance"
    )
    scaling: Scaling = setting("raw", SCALINGS)

    def __post_init__(self) -> None:
        check_positive(k=self.k)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        n_way, n_support = count_ways(y_s), z_s.shape[1]
        if self.k > n_support:
            raise UsageError(
                f"knn: k is {self.k}, but an episode has {n_support} support images; lower knn.k or raise --n-support"
            )
        measure = euclidean if self.metric == "euclidean" else cosine
        distances = torch.cat([measure(s, q) for _, s, q in scaled_parts(z_s, z_q, self.scaling)])
        near, labels = (ranked[..., : self.k] for ranked in rank(distances, y_s))
        weights = torch.ones_like(near) if self.weights == "uniform" else inverse(near)
        shares = weights / weights.sum(-1, keepdim=True)
        nearness = torch.linspace(1, 0, self.k + 1, dtype=near.dtype, device=near.device)[:-1]
        votes = [((labels == c) * shares).sum(-1) + TIE * ((labels == c) * nearness).amax(-1) for c in range(n_way)]
        logits = ((self.k * torch.stack(votes, -1) + 1 / n_way) / (self.k + 1)).log()
        steps = torch.zeros(len(z_s), dtype=torch.int64, device=z_s.device)
        return Fit(logits, steps, converged=torch.ones_like(steps, dtype=torch.bool))


def euclidean(z_s: Float[Tensor, "e n d"], z_q: Float[Tensor, "e q d"]) -> Float[Tensor, "e q n"]:
    """Distances by differences, not by products: exactly zero from an image to itself, the same to equal images."""
    return torch.cdist(z_q, z_s, compute_mode="donot_use_mm_for_euclid_dist")


def cosine(z_s: Float[Tensor, "e n d"], z_q: Float[Tensor, "e q d"]) -> Float[Tensor, "e q n"]:
    """One minus the cosine u·v = 1 - ½|u - v|² of unit vectors; a vector of zeros is orthogonal to all others."""
    no_direction = (z_q == 0).all(-1)[:, :, None] | (z_s == 0).all(-1)[:, None]
    return torch.where(no_direction, 1.0, euclidean(*scale(z_s, z_q, "l2")).square() / 2)


def rank(
    distances: Float[Tensor, "e q n"], y_s: Int64[Tensor, "e n"]
) -> tuple[Float[Tensor, "e q n"], Int64[Tensor, "e q n"]]:
    """Distances in ascending order with the labels of their images, which are in ascending order where equally near."""
    by_class = y_s.argsort(dim=1, stable=True)[:, None].expand_as(distances).contiguous()
    near, order = distances.gather(2, by_class).sort(dim=2, stable=True)
    return near, y_s[:, None].expand_as(by_class).gather(2, by_class.gather(2, order))


def inverse(near: Float[Tensor, "e q k"]) -> Float[Tensor, "e q k"]:
    """Weights in proportion to 1 / distance, for distances in ascending order."""
    nearest = near[..., :1]
    return torch.where(nearest > 0, nearest / near, (near == 0).to(near.dtype))
