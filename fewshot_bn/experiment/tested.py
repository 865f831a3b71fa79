"""From the scores of images to what a result keeps of them: metrics with intervals, predictions, the worst group."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.evaluation.many_shot.verdict import predictions, scores, worst_group
from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.results.many_shot import Tested
from fewshot_bn.results.statistics import Estimate, estimate_of_strata


def tested(logits: Float[Tensor, "n way"], labels: Int64[ndarray, "n"], groups: Sequence[str] | None) -> Tested:
    """How images of these classes, and perhaps groups, are classified by their scores."""
    y, predicted = torch.from_numpy(labels).to(logits.device), predictions(logits).tolist()
    intervals = estimates(logits, y)
    return Tested(
        test=scores(logits, y),
        half_widths={name: found.half_width for name, found in intervals.items()},
        predictions=predicted,
        intervals={name: [found.low, found.high] for name, found in intervals.items()},
        labels=labels.tolist(),
        worst_group=worst_group(predicted, labels.tolist(), groups),
    )


def estimates(logits: Float[Tensor, "n way"], y: Int64[Tensor, "n"]) -> dict[str, Estimate]:
    """With 95 % intervals, of the metrics that have one."""
    right, labels = (predictions(logits) == y).double().cpu().numpy(), y.cpu().numpy()
    found = {
        name: estimate_of_strata(metric.strata(right, labels))
        for name, metric in metrics_of("split").items()
        if metric.strata
    }
    return {name: estimate for name, estimate in found.items() if estimate is not None}
