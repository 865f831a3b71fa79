"""What is measured of the answers to classified images, one record per metric.

The queries of an episode are classified together, and so are the test images of a many-shot split: to a metric a split
is one episode. Probabilities are the softmax of the scores, whatever an adapter's scores are. Classes may have other
numbers of queries than each other, or none.

Where the scores of an episode are not finite, its queries are taken for nothing (-1) and its scores as all equal: its
accuracy, mean per class and F1 are 0, its AUC is 0.5, and its likelihood that of a guess.

The calibration error gathers queries in 15 bins of equal width by the probability of the predicted class; |Σ correct -
Σ probability| of each bin, over all queries of all episodes, is summed and divided by their number. So per episode and
bin one number is kept, the gap: correct predictions less the sum of their probabilities. Where episodes differ in their
number of queries, a query of a small one counts for more, so that each episode counts the same.

Shapes: logits [e q way], predicted [e q], y [e q]. Units: natural logarithms; fractions.
Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 3 and 6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.evaluation.ranking import area_under_roc, mean_average_precision

N_BINS = 15
NOTHING = -1  # is predicted where scores are not finite
CORRECT = "correct"  # what every result keeps: how many queries of an episode are right

Place = Literal["episodes", "split"]
Labels = Int64[Tensor, "e q"]
Right = Float64[ndarray, "_"]


def mean_of(values: Sequence[float], n_queries: int | Sequence[int]) -> float:
    """Each episode counts the same."""
    del n_queries
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that answers are judged by.

    `measure` gives a value per episode, or several, of what it judges: scores [e q way], or predicted classes [e q].
    They are kept in the result as `kept`, and `pool` makes one number of those of all episodes, of so many queries
    each; `show` writes it into a table, under `title`.

    `of` says where it is measured: in episodes, or on the test images of a split; nowhere if results hold it anyway.
    On a split the interval is that of the mean over `strata` of what was right, by label; a metric without them has
    none. In episodes, `draws` says of what a value from 0 to 1 is the share that came out right. A metric is a column
    of the table if it is asked for, or `always`.
    """

    title: str
    of: tuple[Place, ...]
    kept: str
    measure: Callable[[Any, Labels], Float[Tensor, "e *values"]]
    judges: Literal["scores", "predictions"] = "scores"
    pool: Callable[[Sequence[Any], int | Sequence[int]], float] = mean_of
    show: Callable[[float], str] = "{:.3f}".format
    strata: Callable[[Right, Int64[ndarray, "q"]], list[Right]] | None = None
    draws: Literal["queries", "pairs"] | None = None
    always: bool = False
    lower_is_better: bool = False
    meaning: str = ""


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


def accuracy(predicted: Int64[Tensor, "e q"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The fraction of images that are taken for what they are."""
    return (predicted == y).double().mean(1)


def mean_per_class(predicted: Int64[Tensor, "e q"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean of the accuracies of the classes, of which those that no image is of are left out."""
    n, _, n_right = _counts(predicted, y)
    return _mean_over(n > 0, n_right / np.maximum(n, 1))


def macro_f1(predicted: Int64[Tensor, "e q"], y: Int64[Tensor, "e q"]) -> Float[Tensor, "e"]:
    """The mean over classes of 2 TP / (2 TP + FP + FN); those that no image is of or is taken for are left out."""
    n, n_predicted, n_right = _counts(predicted, y)
    return _mean_over(n + n_predicted > 0, 2 * n_right / np.maximum(n + n_predicted, 1))


def _counts(predicted: Int64[Tensor, "e q"], y: Int64[Tensor, "e q"]) -> list[Int64[ndarray, "e way"]]:
    """How many images are of each class, are taken for it, and both."""
    found, labels = predicted.cpu().numpy(), y.cpu().numpy()
    n_episodes, n_way = len(labels), int(max(labels.max(), found.max())) + 1
    places = labels + n_way * np.arange(n_episodes)[:, None], found + n_way * np.arange(n_episodes)[:, None]
    counted = places[0].ravel(), places[1][found != NOTHING], places[0][found == labels]
    return [np.bincount(place, minlength=n_episodes * n_way).reshape(n_episodes, n_way) for place in counted]


def _mean_over(counts: Bool[ndarray, "e way"], values: Float64[ndarray, "e way"]) -> Float[Tensor, "e"]:
    """The mean of each episode's values that count."""
    anywhere = counts.any(0)
    counts, values = counts[:, anywhere], values[:, anywhere]
    return torch.from_numpy(np.where(counts, values, 0).sum(1) / counts.sum(1))


def together(right: Right, labels: Int64[ndarray, "q"]) -> list[Right]:
    """All images as one stratum."""
    del labels
    return [right]


def by_class(right: Right, labels: Int64[ndarray, "q"]) -> list[Right]:
    """A stratum for each class that any image is of."""
    return [right[labels == k] for k in np.unique(labels)]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "accuracy",
        (),
        CORRECT,
        accuracy,
        judges="predictions",
        show=percent,
        draws="queries",
        meaning="fraction of the queries that are taken for what they are",
    ),
    "nll": Metric(
        "NLL",
        ("episodes",),
        "nll",
        negative_log_likelihood,
        always=True,
        lower_is_better=True,
        meaning="negative log-likelihood: mean over the queries of -log p of their class",
    ),
    "calibration_error": Metric(
        "ECE",
        ("episodes",),
        "gaps",
        calibration_gaps,
        pool=expected_calibration_error,
        show=percent,
        always=True,
        lower_is_better=True,
        meaning="expected calibration error of the queries of all episodes together, in 15 bins",
    ),
    "top-1": Metric(
        "top-1", ("split",), "top-1", accuracy, judges="predictions", show=percent, strata=together, meaning="accuracy"
    ),
    "mean-per-class": Metric(
        "mean per class",
        ("episodes", "split"),
        "mean-per-class",
        mean_per_class,
        judges="predictions",
        show=percent,
        strata=by_class,
        draws="queries",
        meaning="balanced accuracy: mean of the accuracies of the classes",
    ),
    "map": Metric("mAP", ("split",), "map", mean_average_precision, show=percent, meaning="mean average precision"),
    "auc": Metric(
        "AUC",
        ("episodes",),
        "auc",
        area_under_roc,
        show=percent,
        draws="pairs",
        meaning="area under the ROC curve of each class against the rest, averaged over the classes",
    ),
    "f1": Metric(
        "F1",
        ("episodes",),
        "f1",
        macro_f1,
        judges="predictions",
        show=percent,
        draws="queries",
        meaning="macro F1: mean over the classes of the harmonic mean of precision and recall",
    ),
}


def metrics_of(what: Place) -> dict[str, Metric]:
    """Those that are measured there."""
    return {name: metric for name, metric in METRICS.items() if what in metric.of}


def comparable() -> dict[str, Metric]:
    """Those with one value per episode, so that their mean has an interval and results are compared in pairs."""
    return {name: metric for name, metric in METRICS.items() if metric.of != ("split",) and metric.pool is mean_of}


def comparable_metric(name: object) -> Metric:
    """The one of that name. Raises `UsageError` where there is none."""
    choices = comparable()
    if not isinstance(name, str):
        raise UsageError(f"a metric is {name!r}; a name is needed: {', '.join(choices)}")
    if name not in choices:
        raise unknown("metric", name, choices)
    return choices[name]


def measured(
    what: Place, logits: Float[Tensor, "e q way"], predicted: Int64[Tensor, "e q"], y: Int64[Tensor, "e q"]
) -> dict[str, Float[Tensor, "e *values"]]:
    """The values of all metrics that are measured there, as they are kept."""
    judged = {"scores": logits, "predictions": predicted}
    return {metric.kept: metric.measure(judged[metric.judges], y) for metric in metrics_of(what).values()}
