"""Multinomial logistic regressions by the hundred: Newton's method with conjugate gradients, to the optimum.

Objective of one regression on images with coordinates x_i, one-hot labels y_i and weights c_i (C where the image takes
part, 0 where it is left out), its intercept b not penalised:
    Σ_i c_i logloss(θ x_i + b, y_i) + ½ |θ|²

f regressions share the coordinates of one set of images and differ in c: the folds of a cross-validation, say. So each
product with the coordinates serves all of them. Rows of x are orthogonal, which gives the preconditioner: the Hessian
is about w_k diag(Σ_i x_ri²) + I for class k, with w_k the mean of c_i p_ik (1 - p_ik).

Scores, losses and gradients are float64. A Newton direction is only wanted up to a tenth, so it is computed in float32,
and in float64 only where that fails.

Stopping: with gradient g and Hessian H, the loss is about ½ gᵀH⁻¹g above its optimum; the penalty makes it 1-strongly
convex in θ, so every score is within √(gᵀH⁻¹g) · |x_i| of its optimum, and after a step within a tenth of that, which
the tolerance bounds.

Shapes: x [e r1 n], whose last row is ones; y [e way n]; weights [e f n]; theta [e f way r1], the intercept last.
Source: Komarek and Moore 2005, "Making logistic regression a core data mining tool" (truncated Newton); Nocedal and
Wright 2006, "Numerical optimization", algorithms 5.3 and 7.1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.probes.span import Span

FORCING = 0.1  # of the residual is left by the conjugate gradients
ROUNDING = 1e-10  # of the largest score is near enough in any case
EXTRAPOLATION = {1: (1,), 2: (-1, 2), 3: (1, -3, 3)}  # the next value of a polynomial through the last


@dataclass(frozen=True, slots=True)
class Regressions:
    """f regressions on each of e sets of images.

    `squares` are the sums of squares of the rows of x, `longest` is the length of the longest image.
    """

    x: Float[Tensor, "e r1 n"]
    squares: Float[Tensor, "e r1"]
    y: Float[Tensor, "e way n"]
    weights: Float[Tensor, "e f n"]
    longest: Float[Tensor, "e 1"]

    def part(self, sets: Int64[Tensor, "p"]) -> "Regressions":
        return self._map(lambda tensor: tensor[sets])

    def to(self, dtype: torch.dtype) -> "Regressions":
        return self._map(lambda tensor: tensor.to(dtype))

    def weighted(self, factor: Float[Tensor, "..."] | float) -> "Regressions":
        return replace(self, weights=self.weights * factor)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Regressions":
        return Regressions(*(change(getattr(self, field.name)) for field in fields(self)))

    @property
    def penalty(self) -> Float[Tensor, "r1"]:
        """1 for what is penalised, 0 for the intercept."""
        ones = self.x.new_ones(self.x.shape[1])
        ones[-1] = 0
        return ones

    def scores(self, theta: Float[Tensor, "e f way r1"]) -> Float[Tensor, "e f way n"]:
        scores: Tensor = (theta.flatten(1, 2) @ self.x).unflatten(1, theta.shape[1:3])
        return scores

    def per_image(self, scores: Float[Tensor, "e f way n"]) -> Float[Tensor, "e f n"]:
        """The loss of each image, without its weight; also where it is minute, each digit counts."""
        own = self.y[:, None] > 0
        margins = scores - (scores * own).sum(2, keepdim=True)
        others = margins.masked_fill(own, -torch.inf).logsumexp(2)
        return torch.logaddexp(others, torch.zeros_like(others))

    def losses(self, scores: Float[Tensor, "e f way n"]) -> Float[Tensor, "e f"]:
        """The weighted loss of the images, without the penalty."""
        return (self.weights * self.per_image(scores)).sum(2)

    def gradient(
        self, theta: Float[Tensor, "e f way r1"], p: Float[Tensor, "e f way n"]
    ) -> Float[Tensor, "e f way r1"]:
        others = p * (1 - self.y[:, None])
        return self._pulled_back(others - self.y[:, None] * others.sum(2, keepdim=True), theta)  # p - y, exactly

    def hessian_times(
        self, v: Float[Tensor, "e f way r1"], p: Float[Tensor, "e f way n"]
    ) -> Float[Tensor, "e f way r1"]:
        change = self.scores(v)
        # Relative to the score of its own class, an image that is all but certain has no large numbers that cancel.
        change = p * (change - (change * self.y[:, None]).sum(2, keepdim=True))
        return self._pulled_back(change - p * change.sum(2, keepdim=True), v)

    def preconditioner(self, p: Float[Tensor, "e f way n"]) -> Float[Tensor, "e f way r1"]:
        weight = (p * (1 - p) * self.weights[:, :, None]).mean(3, keepdim=True)
        return 1 / (weight * self.squares[:, None, None] + self.penalty).clamp_min(torch.finfo(torch.float32).tiny)

    def _pulled_back(self, per_image: Tensor, theta: Tensor) -> Tensor:
        weighted = (self.weights[:, :, None] * per_image).flatten(1, 2)
        return balanced((weighted @ self.x.mT).unflatten(1, theta.shape[1:3]) + self.penalty * theta)


@dataclass(frozen=True, slots=True)
class Solution:
    """theta, the Newton steps of each set, which regressions reached the tolerance, and the length of the gradient."""

    theta: Float[Tensor, "e f way r1"]
    steps: Int64[Tensor, "e"]
    converged: Bool[Tensor, "e f"]
    gradient_norm: Float[Tensor, "e f"]


def regressions(span: Span, y_s: Int64[Tensor, "e n"], n_way: int) -> Regressions:
    """One regression on each support set, for C = 1, in the coordinates of its span and with an intercept.

    With two classes the images weigh half: scikit-learn fits one weight vector w = w_1 - w_0 there.
    """
    y = F.one_hot(y_s, n_way).double().mT
    weights = torch.full_like(y[:, :1], 0.5 if n_way == 2 else 1.0)
    x = F.pad(span.x, (0, 0, 0, 1), value=1.0)
    longest = x.square().sum(1).amax(1, keepdim=True).sqrt()
    return Regressions(x, F.pad(span.squares, (0, 1), value=x.shape[2]), y, weights, longest)


def solve(
    problem: Regressions, *, tolerance: float, max_steps: int, start: Float[Tensor, "e f way r1"] | None = None
) -> Solution:
    """Newton's method on every set, from `start` or from zero; sets that have converged are left alone."""
    (n_sets, r1, _), n_way = problem.x.shape, problem.y.shape[1]
    theta = problem.x.new_zeros(n_sets, problem.weights.shape[1], n_way, r1) if start is None else start.clone()
    steps = torch.zeros(n_sets, dtype=torch.int64, device=theta.device)
    converged = torch.zeros(theta.shape[:2], dtype=torch.bool, device=theta.device)
    for dtype in (torch.float32, torch.float64):
        active = (~converged.all(1) & (steps < max_steps)).nonzero()[:, 0]
        part = problem.part(active) if len(active) < n_sets else problem
        low = part.to(dtype)
        while len(active):
            theta[active], moved, reached = _newton_step(part, low, theta[active], tolerance)
            converged[active] |= reached
            steps[active] += 1
            going = (moved & ~converged[active]).any(1) & (steps[active] < max_steps)
            if not bool(going.all()):
                active, part = active[going], part.part(going.nonzero()[:, 0])
                low = part.to(dtype)
    p = problem.scores(theta).softmax(2)
    return Solution(theta, steps, converged, _norm(problem.gradient(theta, p)))


def path(
    problem: Regressions, Cs: Sequence[float], *, tolerance: float, max_steps: int
) -> Iterator[tuple[Regressions, Solution]]:
    """The problem with its weights multiplied by each of `Cs`, and its solution.

    Each starts from where a parabola through the last three points, so values in equal ratios are the fastest.
    """
    start: Tensor | None = None
    known: list[Tensor] = []
    for C in Cs:
        scaled = problem.weighted(C)
        solution = solve(scaled, tolerance=tolerance, max_steps=max_steps, start=start)
        yield scaled, solution
        known = [*known, solution.theta][-3:]
        weights = torch.tensor(EXTRAPOLATION[len(known)], dtype=torch.float64, device=known[0].device)
        start = torch.tensordot(weights, torch.stack(known), 1)


def _newton_step(
    problem: Regressions, low: Regressions, theta: Float[Tensor, "e f way r1"], tolerance: float
) -> tuple[Float[Tensor, "e f way r1"], Bool[Tensor, "e f"], Bool[Tensor, "e f"]]:
    """The next theta, which regressions could move at all, and which have reached the tolerance by this step."""
    scores = problem.scores(theta)
    p = scores.softmax(2)
    gradient = problem.gradient(theta, p)
    direction = _newton_direction(low, gradient, p)
    slope = _dot(direction, gradient)
    theta, moved = _descend(problem, theta, scores, direction=direction, slope=slope)
    error = FORCING * (-slope).clamp_min(0).sqrt() * problem.longest
    return theta, moved, (slope <= 0) & (error <= tolerance + ROUNDING * scores.abs().amax((2, 3)))


def _newton_direction(
    problem: Regressions, gradient: Float[Tensor, "e f way r1"], p: Float[Tensor, "e f way n"]
) -> Float[Tensor, "e f way r1"]:
    """H v = -g by preconditioned conjugate gradients, in the precision of `problem`, on g of unit length."""
    length = _norm(gradient).clamp_min(torch.finfo(torch.float64).tiny)[:, :, None, None]
    preconditioner = problem.preconditioner(p).to(problem.x)
    residual, p = (-gradient / length).to(problem.x), p.to(problem.x)
    v = torch.zeros_like(residual)
    z = balanced(preconditioner * residual)
    along, rho = z, _dot(residual, z)
    goal = FORCING**2 * rho
    for _ in range(2 * residual[0, 0].numel()):
        going = rho > goal
        if not bool(going.any()):
            break
        image = problem.hessian_times(along, p)
        curvature = _dot(along, image)
        alpha = torch.where(going & (curvature > 0), rho / curvature, 0)[:, :, None, None]
        v = v + alpha * along
        residual = residual - alpha * image
        z = balanced(preconditioner * residual)
        rho, before = torch.where(going, _dot(residual, z), rho), rho
        along = z + torch.where(going, rho / before, 0)[:, :, None, None] * along
    return v.double() * length


def _descend(
    problem: Regressions,
    theta: Float[Tensor, "e f way r1"],
    scores: Float[Tensor, "e f way n"],
    *,
    direction: Float[Tensor, "e f way r1"],
    slope: Float[Tensor, "e f"],
) -> tuple[Float[Tensor, "e f way r1"], Bool[Tensor, "e f"]]:
    """Halve the step of each regression until its loss falls (Armijo); also says which could move at all."""
    change = problem.scores(direction)
    penalised = problem.penalty * direction
    linear, quadratic = _dot(penalised, theta), _dot(penalised, direction)
    start = problem.losses(scores)
    rounding = 1e-15 * (start + (problem.weights * scores.abs().sum(2)).sum(2))
    size = torch.ones_like(start)
    for _ in range(40):
        loss = problem.losses(scores + size[:, :, None, None] * change) + size * linear + size.square() / 2 * quadratic
        moved = (loss <= start + 1e-4 * size * slope + rounding) & (slope <= 0)
        if bool((moved | (slope > 0)).all()):
            break
        size = torch.where(moved, size, size / 2)
    return theta + torch.where(moved, size, 0)[:, :, None, None] * direction, moved


def balanced(theta: Float[Tensor, "e f way r1"]) -> Float[Tensor, "e f way r1"]:
    """Without what is common to all classes: no probability depends on it, and at the optimum it is zero."""
    return theta - theta.mean(2, keepdim=True)


def _dot(a: Tensor, b: Tensor) -> Float[Tensor, "e f"]:
    return (a * b).sum((2, 3))


def _norm(a: Tensor) -> Float[Tensor, "e f"]:
    return _dot(a, a).sqrt()
