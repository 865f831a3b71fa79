"""Results of the many-shot regime: how the test images of a split were classified."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.results.key import Key
from fewshot_bn.results.statistics import Estimate, difference_of_strata


@dataclass(frozen=True, slots=True)
class ManyShotResult:
    """How every C scored on the validation images, the chosen one, and the score and predictions of the test images.

    `path` holds the value of C, its validation scores by metric, and whether its fit reached the tolerance; it is
    empty, and `C` None, where nothing was chosen. `predictions` and `labels` follow the rows of the test images in
    ascending order; -1 is predicted where scores were not finite. `training` is what is to be said of a training by
    steps. `trials` are the points of a grid that were trained, each with its settings, steps and scores on the
    validation images; `chosen` are the settings of one of them. Half widths and `test_intervals` are those of the
    metrics that have one. Older files have no `labels` and no `test_intervals`.
    """

    key: Key
    metric: str
    path: list[dict[str, Any]]
    C: float | None
    converged: bool
    test: dict[str, float]
    test_half_widths: dict[str, float]
    predictions: list[int]
    run: dict[str, Any]
    test_intervals: dict[str, list[float]] | None = None
    labels: list[int] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """The name of the classifier."""
        return str(self.key["adapter"]["name"])

    def test_estimate(self, metric: str) -> Estimate | None:
        """The score of the test images with its interval; None if the metric has no interval."""
        mean, half_width = self.test[metric], self.test_half_widths.get(metric)
        if half_width is None:
            return None
        low, high = (self.test_intervals or {}).get(metric, (mean - half_width, mean + half_width))
        sides = None if mean - low == high - mean else (mean - low, high - mean)
        return Estimate(mean, half_width, len(self.predictions), sides)

    def difference_to(self, baseline: "ManyShotResult", metric: str) -> Estimate | None:
        """The difference in a metric on the same test images, with its interval; None if the metric has no interval.

        Raises `ResultError` where the two are not of the same images, or too old to tell image by image.
        """
        strata = METRICS[metric].strata
        if strata is None:
            return None
        if _images(self.key) != _images(baseline.key):
            raise ResultError(f"results of {self.mode} and {baseline.mode} are not of the same test images")
        if self.labels is None or baseline.labels is None:
            raise ResultError(
                f"the result of {baseline.mode if self.labels else self.mode} is of before labels were kept; move it "
                "away, and it is computed again"
            )
        labels = np.array(self.labels)
        right, other = ((np.array(result.predictions) == labels).astype(float) for result in (self, baseline))
        return difference_of_strata(strata(right, labels), strata(other, labels))


def _images(key: Key) -> tuple[Any, ...]:
    return key["dataset"]["fingerprint"], key["split"]["fingerprint"]
