"""Gradient steps on the support sets of some episodes: what is trained comes as groups of parameters.

Episodes are trained side by side and independently: their losses are summed, and no parameter is shared.

Shapes: parameters [e ...], support labels y [e n], scores [e b way].
Source: the schedule: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.batches import Batch, Support
from fewshot_bn.adapters.tuning.network import Stem
from fewshot_bn.adapters.tuning.settings import TuningSettings

OPTIMISERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
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

    def run(self, support: Support, n_steps: int) -> Int64[Tensor, "e"]:
        """The steps that each episode took."""
        optimiser, schedule = self.optimiser(n_steps)
        going = torch.ones(len(support.y), dtype=torch.bool, device=support.y.device)
        steps = torch.zeros(len(support.y), dtype=torch.int64, device=support.y.device)
        pass_loss = self._zeros(len(support.y))
        stop_loss = self.settings.stop_loss
        for batch in itertools.islice(support.batches(), n_steps):
            kept = [tensor.clone() for tensor in self.changing] if stop_loss else []
            optimiser.zero_grad()
            losses = self.backward(batch)
            self._step(optimiser)
            schedule.step()
            steps += going
            if stop_loss:
                if len(going) > 1:  # else the episode is still going
                    _put_back(self.changing, kept, where=~going)
                pass_loss += losses * batch.share
                if batch.ends_pass:
                    going &= ~(pass_loss <= stop_loss)
                    pass_loss.zero_()
                    if not bool(going.any()):
                        break
        return steps

    @property
    def body(self) -> list[Tensor]:
        """What is trained but the head."""
        return [value for group in self.groups[:-1] for value in group.values]

    @property
    def changing(self) -> list[Tensor]:
        """All that a step changes."""
        return [*(value for group in self.groups for value in group.values), *self.followers]

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        """A step of every optimiser is in proportion to its rate, so episodes can have rates of their own."""
        if self.factors is None:
            optimiser.step()
            return
        body = self.body
        before = [value.detach().clone() for value in body]
        optimiser.step()
        set_between(body, before, self.factors)

    def _zeros(self, n_episodes: int) -> Float[Tensor, "e"]:
        return next(value for group in self.groups for value in group.values).new_zeros(n_episodes)

    def parts(self, batch: Batch) -> Iterable[Batch]:
        """What is in memory together."""
        return [batch] if self.settings.in_one_piece else batch.parts(self.images_at_once)

    def backward(self, batch: Batch) -> Float[Tensor, "e"]:
        """Add the gradients of the mean loss of each episode; those losses."""
        total = self._zeros(len(batch.y))
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
        groups = [_options(settings.optimiser, group, group.inertia or common) for group in self.groups if group.values]
        optimiser = OPTIMISERS[settings.optimiser](groups)

        def factor(step: int) -> float:
            return (1 + math.cos(math.pi * step / max(1, n_steps))) / 2 if settings.schedule == "cosine" else 1.0

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


@torch.no_grad()
def set_between(values: Sequence[Tensor], before: Sequence[Tensor], factors: Float[Tensor, "e"]) -> None:
    """Of the way that the values [e ...] have come, let each episode go so many times."""
    for value, start in zip(values, before, strict=True):
        shape = (-1, *[1] * (value.ndim - 1)) if len(factors) > 1 else ()
        value.copy_(torch.lerp(start, value, factors.to(value.dtype).reshape(shape)))


def _options(optimiser: str, group: Group, inertia: Inertia) -> dict[str, Any]:
    """The group as torch's optimisers take it."""
    own = {
        "sgd": {"momentum": inertia.momentum, "dampening": inertia.dampening},
        "adadelta": {"rho": inertia.momentum},
    }.get(optimiser, {"betas": (inertia.momentum, 0.999)})
    return {"params": list(group.values), "lr": group.lr, "weight_decay": inertia.weight_decay, **own}


def _put_back(tensors: Sequence[Tensor], kept: Sequence[Tensor], *, where: Bool[Tensor, "e"]) -> None:
    """Undo what happened to the episodes that have stopped."""
    with torch.no_grad():
        for tensor, before in zip(tensors, kept, strict=True):
            tensor[where] = before[where]
