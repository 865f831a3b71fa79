"""What is measured of the scores of classified images, one record per metric.

The queries of an episode are classified together, and so are the test images of a many-shot split: to a metric a split
is one episode. Probabilities are the softmax of the scores, whatever an adapter's scores are.

The calibration error gathers queries in 15 bins of equal width by the probability of the predicted class; |Σ correct -
Σ probability| of each bin, over all queries of all episodes, is summed and divided by their number. So per episode and
bin one number is kept, the gap: correct predictions less the sum of their probabilities. Where episodes differ in their
number of queries, a query of a small one counts for more, so that each episode counts the same.

Shapes: logits [e q way], y [e q]. Units: natural logarithms; fractions.
Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 3 and 6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

N_BINS = 15

Logits = Float[Tensor, "e q way"]
Labels = Int64[Tensor, "e q"]
Right = Float64[ndarray, "_"]


def mean_of(values: Sequence[float], n_queries: int | Sequence[int]) -> float:
    """Each episode counts the same."""
    del n_queries
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that scores are judged by.

    `measure` gives a value per episode, or several; they are kept in the result as `kept`, and `pool` makes one number
    of those of all episodes, of so many queries each; `show` writes it into a table, under `title`.

    `of` says where it is measured: in episodes, or on the test images of a split. There the interval is that of the
    mean over `strata` of what was right, by label; a metric without them has none.
    """

    title: str
    of: Literal["episodes", "split"]
    kept: str
    measure: Callable[[Logits, Labels], Float[Tensor, "e *values"]]
    pool: Callable[[Sequence[Any], int | Sequence[int]], float] = mean_of
    show: Callable[[float], str] = "{:.3f}".format
    strata: Callable[[Right, Int64[ndarray, "q"]], list[Right]] | None = None


def negative_log_likelihood(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over the queries of each episode."""
    return F.cross_entropy(logits.double().mT, y, reduction="none").mean(1)


def calibration_gaps(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e bins"]:
    """Correct predictions less the sum of their probabilities, by episode and bin."""
    probability, predicted = logits.double().softmax(-1).max(-1)
    gap = (predicted == y).double() - probability
    place = (probability * N_BINS).ceil().long().clamp(1, N_BINS) - 1
    return gap.new_zeros(len(gap), N_BINS).scatter_add_(1, place, gap)


def expected_calibration_error(gaps: Sequence[Sequence[float]], n_queries: int | Sequence[int]) -> float:
    """Of all episodes together, of `n_queries` queries each, or of as many as it says of each."""
    n = np.broadcast_to(n_queries, len(gaps))
    weighed = np.array(gaps) * (n.mean() / n)[:, None]
    return float(np.abs(weighed.sum(0)).sum()) / int(n.sum())


def accuracy(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The fraction of images that are taken for what they are."""
    return (logits.argmax(-1) == y).double().mean(1)


def mean_per_class(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean of the accuracies of the classes, of which those that no image is of are left out."""
    episodes = zip((logits.argmax(-1) == y).double().cpu().numpy(), y.cpu().numpy(), strict=True)
    means = [np.mean([part.mean() for part in by_class(right, labels)]) for right, labels in episodes]
    return torch.tensor(means, dtype=torch.float64)


def together(right: Right, labels: Int64[ndarray, "q"]) -> list[Right]:
    """All images as one stratum."""
    del labels
    return [right]


def by_class(right: Right, labels: Int64[ndarray, "q"]) -> list[Right]:
    """A stratum for each class that any image is of."""
    return [right[labels == k] for k in np.unique(labels)]


def mean_average_precision(logits: Float[Tensor, "e q way"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over the classes of the average precision of their probabilities; absent classes are left out."""
    from sklearn.metrics import average_precision_score

    means = []
    for scores, labels in zip(logits, y.cpu().numpy(), strict=True):
        odds = log_odds(scores).cpu().numpy()
        means.append(np.mean([average_precision_score(labels == k, odds[:, k]) for k in np.unique(labels)]))
    return torch.tensor(np.array(means), dtype=torch.float64)


def log_odds(logits: Float[Tensor, "n way"]) -> Float[Tensor, "n way"]:
    """They order images as the probabilities of a class do, also where those are all 1 within rounding."""
    logits = logits.double()
    first = F.one_hot(logits.argmax(1), logits.shape[1]).bool()
    without_first = logits.masked_fill(first, -torch.inf).logsumexp(1, keepdim=True)
    whole = logits.logsumexp(1, keepdim=True)
    return logits - torch.where(first, without_first, whole + torch.log1p(-(logits - whole).exp()))


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


METRICS: dict[str, Metric] = {
    "nll": Metric("NLL", "episodes", "nll", negative_log_likelihood),
    "calibration_error": Metric(
        "ECE", "episodes", "gaps", calibration_gaps, pool=expected_calibration_error, show=percent
    ),
    "top-1": Metric("top-1", "split", "top-1", accuracy, show=percent, strata=together),
    "mean-per-class": Metric(
        "mean per class", "split", "mean-per-class", mean_per_class, show=percent, strata=by_class
    ),
    "map": Metric("mAP", "split", "map", mean_average_precision, show=percent),
}


def metrics_of(what: Literal["episodes", "split"]) -> dict[str, Metric]:
    """Those that are measured there."""
    return {name: metric for name, metric in METRICS.items() if metric.of == what}
