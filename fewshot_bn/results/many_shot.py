"""Results of the many-shot regime: how the test images of a split, and perhaps of other datasets, were classified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.results.key import Key
from fewshot_bn.results.statistics import Estimate, difference_of_strata


@dataclass(frozen=True, slots=True)
class Tested:
    """How some images were classified: their scores by metric, and the class of each as predicted and as it is.

    Half widths and `intervals` are those of the metrics that have one. `worst_group` is the `group` of the lowest
    `accuracy` among those that are large enough, and its `n_images`; None where there are none. Classes are
    numbers of the training data; -1 is predicted where scores were not finite.
    """

    test: dict[str, float]
    half_widths: dict[str, float]
    predictions: list[int]
    intervals: dict[str, list[float]] | None
    labels: list[int] | None
    worst_group: dict[str, Any] | None = None

    def estimate(self, metric: str) -> Estimate | None:
        """A score with its interval; None if the metric has no interval."""
        mean, half_width = self.test[metric], self.half_widths.get(metric)
        if half_width is None:
            return None
        low, high = (self.intervals or {}).get(metric, (mean - half_width, mean + half_width))
        sides = None if mean - low == high - mean else (mean - low, high - mean)
        return Estimate(mean, half_width, len(self.predictions), sides)

    def difference_to(self, baseline: "Tested", metric: str) -> Estimate | None:
        """As that of a result, image by image; both have their labels."""
        strata = METRICS[metric].strata
        if strata is None:
            return None
        labels = np.array(self.labels)
        right, other = ((np.array(tested.predictions) == labels).astype(float) for tested in (self, baseline))
        return difference_of_strata(strata(right, labels), strata(other, labels))


@dataclass(frozen=True, slots=True)
class ManyShotResult:
    """How every C scored on the validation images, the chosen one, and the score and predictions of the test images.

    `path` holds the value of C, its validation scores by metric, and whether its fit reached the tolerance; it is
    empty, and `C` None, where nothing was chosen. `predictions` and `labels` follow the rows of the test images in
    ascending order; -1 is predicted where scores were not finite. `training` is what is to be said of a training by
    steps. `trials` are the points of a grid that were trained, each with its settings, steps and scores on the
    validation images; `chosen` are the settings of one of them. Half widths and `test_intervals` are those of the
    metrics that have one. `worst_group` is as in `Tested`, and `tests` are the images of other datasets, by name. Older
    files have no `labels` and no `test_intervals`.
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
    worst_group: dict[str, Any] | None = None
    tests: Mapping[str, Tested] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """The name of the classifier."""
        return str(self.key["adapter"]["name"])

    def tested(self, name: str | None = None) -> Tested:
        """The test images of the split, or those of the other dataset of that name.

        Raises `ResultError` where the classifier was not tested on that.
        """
        if name is None:
            return Tested(
                self.test,
                self.test_half_widths,
                self.predictions,
                self.test_intervals,
                self.labels,
                self.worst_group,
            )
        if name not in self.tests:
            raise ResultError(
                f"the result of {self.mode} has no test on {name!r}, only on {', '.join(self.tests) or 'its split'}"
            )
        return self.tests[name]

    def test_estimate(self, metric: str, name: str | None = None) -> Estimate | None:
        """The score of test images, as `tested` names them, with its interval; None if the metric has no interval."""
        return self.tested(name).estimate(metric)

    def difference_to(self, baseline: "ManyShotResult", metric: str, name: str | None = None) -> Estimate | None:
        """The difference in a metric on the same test images, with its interval; None if the metric has no interval.

        `name` is as in `tested`. Raises `ResultError` where the two are not of the same images, or too old to tell
        image by image.
        """
        if METRICS[metric].strata is None:
            return None
        ours, others = self.tested(name), baseline.tested(name)
        if _images(self.key, name) != _images(baseline.key, name):
            raise ResultError(f"results of {self.mode} and {baseline.mode} are not of the same test images")
        if ours.labels is None or others.labels is None:
            raise ResultError(
                f"the result of {baseline.mode if ours.labels else self.mode} is of before labels were kept; move it "
                "away, and it is computed again"
            )
        return ours.difference_to(others, metric)


def _images(key: Key, name: str | None) -> tuple[Any, ...]:
    """What says which images were tested, and with classes of which numbers."""
    if name is not None:
        return key["tests"][name], list(key["dataset"]["classes"])
    return key["dataset"]["fingerprint"], key["split"]["fingerprint"]
