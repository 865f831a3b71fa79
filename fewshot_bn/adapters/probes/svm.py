"""The linear support vector machine of scikit-learn, fitted to each episode by itself.

It sees the products of the features, computed in float64 for many episodes at once, instead of the features. They are
taken relative to the mean of the support set, which the intercept makes up for: the solver keeps products in float32,
and those of features far from the origin would lose what tells the images apart.

Scores are those of `decision_function` with one column per class: the duels that a class wins, one for each pair of
classes, and a fraction that says how clearly. With two classes they are half the margin, with both signs.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Raises: `UsageError` for settings out of range; `DataError` for features or labels that no probe takes.
Source: Chang and Lin 2011, "LIBSVM: a library for support vector machines".
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, check_finite, check_positive, count_ways
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

MOST_STEPS = 2**31 - 1  # what libsvm can count


@dataclass(frozen=True, slots=True)
class SupportVectorMachine:
    """One machine for each pair of classes; the steps of a fit are those of all pairs."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    C: float = setting(1.0, "factor of the penalty on errors", source="scikit-learn")
    scaling: Scaling = setting("raw", SCALINGS)
    tolerance: float = setting(1e-6, "the solver stops if the optimality conditions hold to within this")
    max_steps: int = setting(100_000, "most steps of the solver for a pair of classes")

    def __post_init__(self) -> None:
        check_positive(C=self.C, tolerance=self.tolerance, max_steps=self.max_steps)
        if self.max_steps > MOST_STEPS:
            raise UsageError(f"max_steps is {self.max_steps}; it must be at most {MOST_STEPS:,}")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        count_ways(y_s)
        fits = []
        for part, s, q in scaled_parts(z_s, z_q, self.scaling):
            mean = s.mean(1, keepdim=True)
            x_s, x_q = s - mean, q - mean
            episodes = (values.cpu().numpy() for values in (x_s @ x_s.mT, y_s[part], x_q @ x_s.mT))
            fits += [self._fit(*episode) for episode in zip(*episodes, strict=True)]
        scores, steps, converged = zip(*fits, strict=True)
        logits = torch.from_numpy(np.stack(scores)).to(z_s.device)
        return Fit(logits, torch.tensor(steps, device=z_s.device), torch.tensor(converged, device=z_s.device))

    def _fit(
        self, k_s: Float[ndarray, "n n"], y_s: Int64[ndarray, "n"], k_q: Float[ndarray, "q n"]
    ) -> tuple[Float[ndarray, "q way"], int, bool]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import SVC

        machine = SVC(C=self.C, kernel="precomputed", tol=self.tolerance, max_iter=self.max_steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `fit_status_` says it too
            machine.fit(k_s, y_s)
        scores = machine.decision_function(k_q)
        if scores.ndim == 1:
            scores = np.stack([-scores, scores], axis=1) / 2
        return scores, int(machine.n_iter_.sum()), machine.fit_status_ == 0
