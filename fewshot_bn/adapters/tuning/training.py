"""Gradient steps on the support sets of some episodes: what is trained comes as groups of parameters.

Episodes are trained side by side and independently: their losses are summed, and no parameter is shared.

Shapes: parameters [e ...], support labels y [e n], scores [e b way].
Sources: cosine schedule: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts; the other, of 28 epochs
with drops after 8, 16 and 24: Zhang and Bottou 2023, arXiv:2212.07346.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.batches import Batch
from fewshot_bn.adapters.tuning.network import Stem
from fewshot_bn.adapters.tuning.settings import TuningSettings

OPTIMISERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
}
SCHEDULES: dict[str, Callable[[int, int], float]] = {  # factor of the rates after so many steps of so many
    "cosine": lambda step, n: (1 + math.cos(math.pi * step / n)) / 2,
    "constant": lambda *_: 1.0,
    "steps": lambda step, n: 0.1 ** sum(7 * step >= sevenths * n for sevenths in (2, 4, 6)),
}
N_KEPT = {"sgd": 1, "adam": 2, "adamw": 2, "adadelta": 2}  # numbers that an optimiser keeps of each trained one


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters [e ...] that are trained with one learning rate, and perhaps an inertia of their own.

    Those of a single episode may do without the first axis.
    """

    values: Sequence[Tensor]
    lr: float
    inertia: "Inertia | None" = None


@dataclass(frozen=True, slots=True)
class Inertia:
    """What an optimiser does with a gradient before it takes a step."""

    momentum: float
    dampening: float
    weight_decay: float


def held_bytes(optimiser: str, n_bytes: int) -> int:
    """Memory that is held for trained values of `n_bytes`: themselves, their gradients, what the optimiser keeps."""
    return (2 + N_KEPT[optimiser]) * n_bytes


@dataclass(frozen=True, slots=True)
class Training:
    """The parameters of `groups` are trained in place, by the scores of the features of batches or parts of them.

    `scores` is told the labels, too. The last group is the head. `followers` [e ...] change with the parameters, such
    as running statistics. `images_at_once` of an episode are in memory together. Steps of all but the head are
    `factors` times as long as the rates say.
    """

    settings: TuningSettings
    features: Callable[[Stem], Float[Tensor, "e b d"]]
    scores: Callable[[Float[Tensor, "e b d"], Int64[Tensor, "e b"]], Float[Tensor, "e b way"]]
    groups: Sequence[Group]
    followers: Sequence[Tensor]
    images_at_once: int
    factors: Float[Tensor, "e"] | None = None

    @property
    def body(self) -> list[Tensor]:
        """What is trained but the head."""
        return [value for group in self.groups[:-1] for value in group.values]

    @property
    def changing(self) -> list[Tensor]:
        """All that a step changes."""
        return [*(value for group in self.groups for value in group.values), *self.followers]

    def advance(self, optimiser: torch.optim.Optimizer) -> None:
        """Take a step; those of all optimisers are in proportion to the rate, so episodes can have their own."""
        if self.factors is None:
            optimiser.step()
            return
        body = self.body
        before = [value.detach().clone() for value in body]
        optimiser.step()
        set_between(body, before, self.factors)

    def zeros(self, n_episodes: int) -> Float[Tensor, "e"]:
        """One for each episode, of the kind of what is trained."""
        return next(value for group in self.groups for value in group.values).new_zeros(n_episodes)

    def parts(self, batch: Batch) -> Iterable[Batch]:
        """What is in memory together."""
        return [batch] if self.settings.in_one_piece else batch.parts(self.images_at_once)

    def backward(self, batch: Batch) -> Float[Tensor, "e"]:
        """Add the gradients of the mean loss of each episode; those losses."""
        total = self.zeros(len(batch.y))
        for part in self.parts(batch):
            losses = F.cross_entropy(
                self.scores(self.features(part.stem), part.y).flatten(0, 1),
                part.y.flatten(),
                reduction="none",
                label_smoothing=self.settings.label_smoothing,
            )
            losses = losses.reshape(part.y.shape).sum(1) / batch.y.shape[1]
            losses.sum().backward()
            total += losses.detach()
        return total

    def optimiser(self, n_steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """A fresh one, and the schedule of its rates."""
        settings = self.settings
        common = Inertia(settings.momentum, settings.dampening, settings.weight_decay)
        groups = [_options(settings, group, group.inertia or common) for group in self.groups if group.values]
        optimiser = OPTIMISERS[settings.optimiser](groups)

        factor = SCHEDULES[settings.schedule]
        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: factor(step, max(1, n_steps)))


@torch.no_grad()
def set_between(values: Sequence[Tensor], before: Sequence[Tensor], factors: Float[Tensor, "e"]) -> None:
    """Of the way that the values [e ...] have come, let each episode go so many times."""
    for value, start in zip(values, before, strict=True):
        shape = (-1, *[1] * (value.ndim - 1)) if len(factors) > 1 else ()
        value.copy_(torch.lerp(start, value, factors.to(value.dtype).reshape(shape)))


def _options(settings: TuningSettings, group: Group, inertia: Inertia) -> dict[str, Any]:
    """The group as torch's optimisers take it."""
    own = {
        "sgd": {"momentum": inertia.momentum, "dampening": inertia.dampening, "nesterov": settings.nesterov},
        "adadelta": {"rho": inertia.momentum},
    }.get(settings.optimiser, {"betas": (inertia.momentum, 0.999)})
    return {"params": list(group.values), "lr": group.lr, "weight_decay": inertia.weight_decay, **own}
