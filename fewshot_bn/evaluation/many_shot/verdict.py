"""What an evaluation on a split gives, whatever was trained.

Shapes: logits [n way] of the test images in ascending order of rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot_bn.evaluation.metrics import NOTHING, measured, metrics_of

LEAST_IN_GROUP = 20  # images, below which the accuracy of a group says little


@dataclass(frozen=True, slots=True)
class Verdict:
    """The scores of the test images, and how they came about.

    `path` holds what was tried, each with its scores on the validation images, and `C` the chosen strength of a
    penalty; empty and None where nothing was chosen. `training` is what is to be said of a training by steps. `trials`
    are the points of a grid that were trained, with their scores on the validation images, and `chosen` is one of them.
    `others` are the scores of the images of other datasets that were classified, too, one dataset after the other.
    """

    logits: Float[Tensor, "n way"]
    converged: bool
    path: list[dict[str, Any]] = field(default_factory=list)
    C: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    chosen: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[Float[Tensor, "_ way"], ...] = ()


def predictions(logits: Float[Tensor, "n way"]) -> Int64[Tensor, "n"]:
    """The class with the largest score; none where the scores of an image are not finite."""
    return torch.where(logits.isfinite().all(1), logits.argmax(1), NOTHING)


def scores(logits: Float[Tensor, "n way"], y: Int64[Tensor, "n"]) -> dict[str, float]:
    """Fractions by metric: the images are to a metric as the queries of one episode.

    To metrics of scores, those of an image that are not finite count as equal for all classes.
    """
    predicted = predictions(logits)
    known = torch.where(predicted[:, None] == NOTHING, 0, logits)
    found = measured("split", known[None], predicted[None], y[None])
    return {name: float(found[metric.kept]) for name, metric in metrics_of("split").items()}


def worst_group(predicted: Sequence[int], labels: Sequence[int], groups: Sequence[str] | None) -> dict[str, Any] | None:
    """The group of at least `LEAST_IN_GROUP` images whose accuracy is lowest, and how many images it has.

    Of groups that are equal in this, the first by name. None where there is no such group.
    """
    sizes = Counter(groups or ())
    right = Counter(group for group, k, y in zip(groups or (), predicted, labels, strict=False) if k == y)
    found = [(right[group] / n, group, n) for group, n in sizes.items() if n >= LEAST_IN_GROUP]
    if not found:
        return None
    accuracy, group, n = min(found)
    return {"group": group, "accuracy": accuracy, "n_images": n}
