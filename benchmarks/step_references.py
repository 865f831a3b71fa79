"""What a first step does to the features, as everyone would measure it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def first_distance(
    trained: Sequence[Tensor], features: Callable[[], Tensor], step: Callable[[], object], small: float
) -> float:
    """How far `step` moves features of unit length, by a part of it with root mean square `small`; it is undone."""
    before = [value.detach().clone() for value in trained]
    started = F.normalize(features(), dim=1).detach()
    step()
    moves = [value.detach() - start for value, start in zip(trained, before, strict=True)]
    part = small / torch.cat([move.flatten() for move in moves]).square().mean().sqrt()
    with torch.no_grad():
        for value, start, move in zip(trained, before, moves, strict=True):
            value.copy_(start + part * move)
        distance = (F.normalize(features(), dim=1) - started).norm(dim=1).mean() / part
        for value, start in zip(trained, before, strict=True):
            value.copy_(start)
    return float(distance)
