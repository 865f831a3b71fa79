"""A training as it goes: one step after another, stopped where it is to stop, and continued where it was.

Shapes: values of episodes [e].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from fewshot_bn.adapters.tuning.batches import Batch
from fewshot_bn.adapters.tuning.training import Training


class Course:
    """The steps of a training of so many episodes, at most so many each.

    `steps` are those that each episode has taken, `pass_loss` is the mean loss of its last whole pass (None before the
    first).
    """

    def __init__(self, training: Training, n_episodes: int, n_steps: int) -> None:
        self._training, self._stop_loss = training, training.settings.stop_loss
        self._optimiser, self._schedule = training.optimiser(n_steps)
        self._loss = training.zeros(n_episodes)
        self._going = torch.ones_like(self._loss, dtype=torch.bool)
        self.steps: Int64[Tensor, "e"] = torch.zeros_like(self._loss, dtype=torch.int64)
        self.pass_loss: Tensor | None = None

    def step(self, batch: Batch) -> bool:
        """Take a step on the batch; whether any episode goes on."""
        training = self._training
        kept = [tensor.clone() for tensor in training.changing] if self._stop_loss else []
        self._optimiser.zero_grad()
        losses = training.backward(batch)
        training.advance(self._optimiser)
        self._schedule.step()
        self.steps += self._going
        if self._stop_loss and len(self._going) > 1:  # else the episode is still going
            _put_back(training.changing, kept, where=~self._going)
        self._loss += losses * batch.share
        if batch.ends_pass:
            self.pass_loss, self._loss = self._loss, torch.zeros_like(self._loss)
            if self._stop_loss:
                self._going &= ~(self.pass_loss <= self._stop_loss)
                return self.goes_on
        return True

    @property
    def goes_on(self) -> bool:
        """Whether any episode does."""
        return bool(self._going.any())

    def state(self) -> dict[str, Any]:
        """All that decides the steps to come, but for the training and its batches: tensors and plain values."""
        return {
            "changing": [tensor.detach() for tensor in self._training.changing],
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "progress": {name: getattr(self, name) for name in ("steps", "pass_loss", "_loss", "_going")},
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a course of the same training."""
        for tensor, value in zip(self._training.changing, state["changing"], strict=True):
            tensor.copy_(value)
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(dict(state["schedule"]))  # which it empties
        for name, value in state["progress"].items():
            setattr(self, name, value if value is None else value.to(self._loss.device))


def _put_back(tensors: Sequence[Tensor], kept: Sequence[Tensor], *, where: Bool[Tensor, "e"]) -> None:
    """Undo what happened to the episodes that have stopped."""
    with torch.no_grad():
        for tensor, before in zip(tensors, kept, strict=True):
            tensor[where] = before[where]
