"""The logistic-regression probe on frozen features: all episodes of a batch solved together, to the optimum.

Objective (scikit-learn's): C · Σ_i logloss(z_i, y_i) + ½‖W‖², the intercept b not penalised. With two classes
scikit-learn fits one weight vector w = w_1 - w_0; that is the same objective with C halved.

The optimal W lies in the span of the centred support features (its gradient C · Σ_i (p_i - y_i) z_i + W vanishes, and
Σ_i (p_i - y_i) = 0 at the optimal intercept), so the problem is solved there (span.py), by Newton's method (newton.py).

There are no validation images in few-shot work, so C is either given or chosen within the support set: the images of
each class are dealt to folds, and for every C of a grid each fold is scored by a fit to the others. All folds of all
episodes are solved together, along the whole grid. The C with the least mean loss of the left-out images wins; it is
that of a fit to fewer images, and taken as it is. The only image of a class is never left out, for without it the class
could not be fitted; so with 1 shot C is as given.
The grid is relative to the mean squared length of the centred features: the unit of the features does not matter. What
`scaling` learns from the support set (a mean, a standard deviation), it learns from all folds, without labels.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, check_finite, check_positive, count_ways
from fewshot_bn.adapters.probes.newton import Regressions, Solution, path, regressions, solve
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling
from fewshot_bn.adapters.probes.span import Span, span
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

GRID = torch.logspace(-2, 6, 17, dtype=torch.float64)  # of C times the mean squared length of the centred features


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """Multinomial logistic regression with an L2 penalty."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    C: float = setting(10.0, "factor of the loss, if it is not chosen; with 1 shot it cannot be", source="study")
    select: Literal["fixed", "kfold", "loo"] = setting(
        "kfold",
        "where C comes from: kfold, cross-validation within the support set; loo, leave-one-out; or fixed, as given",
        source="study",
    )
    folds: int = setting(5, "parts of the support set for select=kfold", source="study")
    scaling: Scaling = setting("l2", SCALINGS, source="study")
    tolerance: float = setting(1e-4, "bound on the error of a score")
    max_steps: int = setting(200, "most Newton steps of a fit")

    def __post_init__(self) -> None:
        check_positive(C=self.C, tolerance=self.tolerance, max_steps=self.max_steps)
        if self.folds < 2:
            raise UsageError(f"folds is {self.folds}; it must be at least 2")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        space, solution, C = self._fit(z_s, y_s)
        theta, intercept = solution.theta[:, 0, :, :-1], solution.theta[:, 0, :, -1]
        logits = space.scores(theta, intercept, z_s, z_q, scaling=self.scaling)
        measures = {"C": C, "gradient_norm": solution.gradient_norm[:, 0]}
        return Fit(logits, solution.steps, solution.converged[:, 0], measures)

    def coefficients(
        self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"]
    ) -> tuple[Float[Tensor, "e way d"], Float[Tensor, "e way"]]:
        """The solution as weights and intercepts for features as scaled, in float64: scores are z Wᵀ + b."""
        check_finite(z_s, "support")
        space, solution, _ = self._fit(z_s, y_s)
        theta, intercept = solution.theta[:, 0, :, :-1], solution.theta[:, 0, :, -1]
        mean = z_s.double().mean(1, keepdim=True)
        weight = space.weights(theta, z_s - mean, slice(None))
        return weight, intercept - (mean @ weight.mT)[:, 0]

    def _fit(self, z_s: Tensor, y_s: Tensor) -> tuple[Span, Solution, Float[Tensor, "e"]]:
        n_way = count_ways(y_s)
        space = span(z_s, self.scaling)
        problem = regressions(space, y_s, n_way)
        C = self._choose(problem, y_s)
        problem = problem.weighted(C[:, None, None])
        return space, solve(problem, tolerance=self.tolerance, max_steps=self.max_steps), C

    def _choose(self, problem: Regressions, y_s: Int64[Tensor, "e n"]) -> Float[Tensor, "e"]:
        """The C of each episode."""
        fixed = torch.full_like(problem.longest[:, 0], self.C)
        sizes = problem.y.sum(2)
        largest = int(sizes.max())
        if self.select == "fixed" or largest < 2:
            return fixed
        if self.select == "loo":
            left_out = torch.eye(y_s.shape[1], dtype=torch.bool, device=y_s.device).expand(len(y_s), -1, -1)
        else:
            left_out = deal(problem.x[:, :-1].square().sum(1), y_s, min(self.folds, largest))
        left_out = left_out & (sizes.gather(1, y_s) > 1)[:, None]
        squares = problem.squares[:, :-1].sum(1)
        unit = torch.where(squares > 0, y_s.shape[1] / squares, 1)
        problem = problem.weighted(~_as_if_full(left_out) * unit[:, None, None])
        losses = []
        for scaled, solution in path(problem, GRID.tolist(), tolerance=1e-2, max_steps=self.max_steps):
            losses.append(scaled.per_image(scaled.scores(solution.theta)).mul(left_out).sum((1, 2)))
        chosen = GRID.to(unit)[torch.stack(losses).argmin(0)] * unit
        # among images that are all alike, or the only ones of their classes, there is nothing to choose by
        return torch.where((squares > 0) & left_out.any(2).any(1), chosen, fixed)


def _as_if_full(left_out: Bool[Tensor, "e f n"]) -> Bool[Tensor, "e f n"]:
    """Folds that leave nothing out, as episodes of smaller classes have beside others, as a copy of one that does.

    Folds of an episode are solved together, so with a problem of its own an empty one would have a say in their steps.
    """
    full = left_out.any(2)
    first = left_out[torch.arange(len(left_out), device=left_out.device), full.int().argmax(1)]
    return torch.where(full[:, :, None], left_out, first[:, None])


def deal(lengths: Float[Tensor, "e n"], y_s: Int64[Tensor, "e n"], n_folds: int) -> Bool[Tensor, "e f n"]:
    """Which images each fold leaves out: those of a class are dealt in the order of their lengths.

    So the folds do not depend on the order of the images.
    """
    by_length = lengths.argsort(dim=1, stable=True)
    order = by_length.gather(1, y_s.gather(1, by_length).argsort(dim=1, stable=True))
    place = order.argsort(dim=1)
    first = (y_s[:, :, None] > y_s[:, None, :]).sum(2)  # images of the classes before
    return (place - first)[:, None] % n_folds == torch.arange(n_folds, device=order.device)[:, None]
