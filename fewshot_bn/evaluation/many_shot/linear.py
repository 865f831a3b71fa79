"""Many-shot linear evaluation: logistic regression on all training features, C chosen on validation images.

The protocol: fit for each of 45 values of C on the training images, take the one that is best on the validation
images by the metric of the dataset, fit again on both with it, and report the test images. All fits are those of
newton.py, the values of C one path of warm starts.

Shapes: z [n d], y [n], logits [n way]. Units: fractions.
Source: Kornblith et al. 2019, "Do better ImageNet models transfer better?", arXiv:1805.08974, appendix A.5.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fewshot_bn.adapters.contract import check_positive
from fewshot_bn.adapters.probes.newton import path, regressions, solve
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import span
from fewshot_bn.adapters.tuning.readout import mean_probabilities
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.many_shot.samples import Samples, View
from fewshot_bn.evaluation.many_shot.verdict import Verdict, scores
from fewshot_bn.events import Progress
from fewshot_bn.settings import setting

MOST_VALUES = 10_000


@dataclass(frozen=True, slots=True)
class LinearEvaluation:
    """The grid of C, what chooses from it, and how exact the fits are."""

    n_values: int = setting(45, "values of C that are tried, in equal ratios", source="Kornblith et al. 2019")
    C_min: float = setting(1e-5, "the smallest C", source="Kornblith et al. 2019")
    C_max: float = setting(1e6, "the largest C", source="Kornblith et al. 2019")
    scaling: Scaling = setting("raw", SCALINGS, source="Kornblith et al. 2019")
    metric: Literal["card", "top-1", "mean-per-class", "map"] = setting(
        "card",
        "what chooses C: card, the metric that the card of the dataset names; top-1 accuracy; mean-per-class, the mean "
        "of the accuracies of the classes; or map, mean average precision",
        source="Kornblith et al. 2019",
    )
    tolerance: float = setting(1e-3, "bound on the error of a score")
    max_steps: int = setting(200, "most Newton steps of a fit")

    def __post_init__(self) -> None:
        check_positive(n_values=self.n_values, C_min=self.C_min, C_max=self.C_max, tolerance=self.tolerance)
        check_positive(max_steps=self.max_steps)
        if self.n_values > MOST_VALUES:
            raise UsageError(f"n_values is {self.n_values}; it must be at most {MOST_VALUES:,}")
        if self.C_min > self.C_max or (self.n_values == 1 and self.C_min < self.C_max):
            raise UsageError(
                f"{self.n_values} values of C from {self.C_min} to {self.C_max} are no grid; C_min must be below "
                "C_max, and both equal for a single value"
            )

    @property
    def grid(self) -> list[float]:
        values: list[float] = np.geomspace(self.C_min, self.C_max, self.n_values).tolist()
        return values

    def sweep(self, z: Samples, val: Samples) -> Iterator[tuple[float, Float[Tensor, "n way"], bool]]:
        """Each C, the scores of the validation images under it, and whether its fit reached the tolerance."""
        space = span(z.z[None], self.scaling)
        x_val = space.coordinates(z.z[None], val.z[None], scaling=self.scaling)[0]
        problem = regressions(space, z.y[None], z.n_way)
        for C, (_, solution) in zip(
            self.grid, path(problem, self.grid, tolerance=self.tolerance, max_steps=self.max_steps), strict=True
        ):
            theta = solution.theta[0, 0]
            yield C, (theta[:, :-1] @ x_val + theta[:, -1:]).mT, bool(solution.converged)

    def fit(
        self, z: Samples, tests: Sequence[Float[Tensor, "_ d"]], C: float
    ) -> tuple[list[Float[Tensor, "_ way"]], bool]:
        """The scores of each of the test sets under the fit to `z`, and whether it reached the tolerance."""
        space = span(z.z[None], self.scaling)
        problem = regressions(space, z.y[None], z.n_way).weighted(C)
        solution = solve(problem, tolerance=self.tolerance, max_steps=self.max_steps)
        theta = solution.theta[:, 0]
        weight, bias = theta[..., :-1], theta[..., -1]
        scores = [space.scores(weight, bias, z.z[None], test[None], scaling=self.scaling)[0] for test in tests]
        return scores, bool(solution.converged)

    def verdict(self, views: Sequence[View], metric: str) -> Generator[Progress, None, Verdict]:
        """C chosen by `metric` on the validation images, and the scores of all test images under it.

        Of several views of the same images, class probabilities are averaged.
        """
        tried: list[dict[str, Any]] = []
        y = views[0].val.y
        for fits in zip(*(self.sweep(view.train, view.val) for view in views), strict=True):
            C, converged = fits[0][0], all(converged for *_, converged in fits)
            logits = mean_probabilities([logits[None] for _, logits, _ in fits])[0]
            tried.append({"C": C, **scores(logits, y), "converged": converged})
            yield Progress("path of C", "value", len(tried), self.n_values)
        best = max(tried, key=lambda point: float(point[metric]))
        last = [self.fit(view.train + view.val, [view.test.z, *view.others], best["C"]) for view in views]
        scored = zip(*(logits for logits, _ in last), strict=True)  # test set after test set, in every view
        logits, *others = (mean_probabilities([one[None] for one in of_test])[0] for of_test in scored)
        return Verdict(logits, all(converged for _, converged in last), tried, best["C"], others=tuple(others))
