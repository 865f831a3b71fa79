"""What tuning gives: networks that are adapted to some episodes, and how they classify.

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; features [e b d]; scores [e q way].
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit
from fewshot_bn.adapters.tuning.batches import Support
from fewshot_bn.adapters.tuning.heads import Head, seen
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.readout import mean_probabilities, read_out
from fewshot_bn.adapters.tuning.settings import TuningSettings
from fewshot_bn.adapters.tuning.views import fixed_view, fixed_views


@dataclass(frozen=True, slots=True)
class Episodes:
    """What a tuner is called on, and how many images of an episode may be in memory together."""

    x_s: Float[Tensor, "e n 3 h w"]
    y_s: Int64[Tensor, "e n"]
    x_q: Float[Tensor, "e q 3 h w"]
    seeds: Sequence[int]
    images_at_once: int | None

    def __getitem__(self, part: slice) -> "Episodes":
        return Episodes(self.x_s[part], self.y_s[part], self.x_q[part], self.seeds[part], self.images_at_once)


@dataclass(frozen=True, slots=True)
class Adapted:
    """What tuning gave: networks (the tuned one, perhaps the pretrained one beside it), head, and steps of episodes."""

    settings: TuningSettings
    networks: Sequence[EpisodicNetwork]
    head: Head
    support: Support
    steps: Int64[Tensor, "e"]
    images_at_once: int

    @torch.no_grad()
    def classify(self, x_q: Float[Tensor, "e q 3 h w"]) -> Fit:
        """The scores of the queries."""
        if self.settings.readout == "head":
            return fit_of(mean_probabilities(list(self.head_scores(x_q))), self.steps)
        logits, solved = read_out(self.settings.readout, self.views(x_q), self.support.y)
        return fit_of(logits, self.steps, solved)

    def head_scores(self, x_q: Float[Tensor, "e q 3 h w"]) -> Iterator[Float[Tensor, "e q way"]]:
        """Those of the trained head, of every network and fixed view."""
        z_s = self._seen(self.support.x)
        for z_q in self._seen(x_q):
            yield self.head.fitted(lambda: next(z_s), self.support.y)(z_q)

    def views(self, x_q: Float[Tensor, "e q 3 h w"]) -> Iterator[tuple[Float[Tensor, "e n d"], Float[Tensor, "e q d"]]]:
        """Features of support images and queries, of every network and fixed view."""
        yield from zip(self.features(self.support.x), self.features(x_q), strict=True)

    def _seen(self, x: Float[Tensor, "e b 3 h w"]) -> Iterator[Float[Tensor, "e b d"]]:
        return (seen(z, self.settings.scaling) for z in self.features(x))

    def features(self, x: Float[Tensor, "e b 3 h w"]) -> Iterator[Float[Tensor, "e b d"]]:
        """Those of every network and fixed view of the images."""
        for network, view in itertools.product(self.networks, fixed_views(self.settings.test_augment)):
            if self.settings.statistics == "transductive":
                yield network.features(network.stem(fixed_view(x, view)), "batch")
            else:
                yield in_parts(network, x, view, self.images_at_once)


def in_parts(
    network: EpisodicNetwork, x: Float[Tensor, "e b 3 h w"], view: str, images_at_once: int
) -> Float[Tensor, "e b d"]:
    """Features of a fixed view of the images under the running statistics, so many images of an episode at once."""
    parts = x.split(images_at_once, dim=1)
    return torch.cat([network.features(network.stem(fixed_view(part, view))) for part in parts], dim=1)


def fit_of(logits: Float[Tensor, "e q way"], steps: Int64[Tensor, "e"], solved: Bool[Tensor, "e"] | None = None) -> Fit:
    """These scores and steps; converged are the episodes that are solved and whose scores are finite."""
    finite = logits.isfinite().all((1, 2))
    return Fit(logits, steps, finite if solved is None else solved & finite)


def joined(fits: Sequence[Fit]) -> Fit:
    """Those of all their episodes, in order."""
    if len(fits) == 1:
        return fits[0]
    logits, steps, converged = zip(*((fit.logits, fit.steps, fit.converged) for fit in fits), strict=True)
    return Fit(torch.cat(logits), torch.cat(steps), torch.cat(converged))
