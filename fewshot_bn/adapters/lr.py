"""The logistic-regression probe on frozen features: all episodes of a batch solved together, to the optimum.

Objective (scikit-learn's): C · Σ_i logloss(z_i, y_i) + ½‖W‖², the intercept b not penalised. With two classes
scikit-learn fits one weight vector w = w_1 - w_0; that is the same objective with C halved.

The optimal W lies in the span of the centred support features (its gradient C · Σ_i (p_i - y_i) z_i + W vanishes, and
Σ_i (p_i - y_i) = 0 at the optimal intercept). So with the Gram matrix K = U diag(λ) Uᵀ of the centred features, the
rows of X = U diag(√λ) are coordinates of the support images in an orthonormal basis of that span, and the problem
shrinks from d to at most n unknowns per class without changing its solution.

It is solved by Newton's method with conjugate gradients. XᵀX is diagonal, which gives the preconditioner:
H_kk ≈ C · w_k · diag(λ) + I with w_k the mean of p_ik (1 - p_ik). All arithmetic is float64.

Stopping: with gradient g and Hessian H, the loss is about ½ gᵀH⁻¹g above its optimum; the penalty makes it 1-strongly
convex in W, so every logit is within √(gᵀH⁻¹g) · ‖x‖ of its optimum. The tolerance bounds that before the last step.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Source: Komarek and Moore 2005, "Making logistic regression a core data mining tool" (truncated Newton).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_finite, check_positive, count_ways
from fewshot_bn.adapters.scaling import Scaling, scale


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """Multinomial logistic regression with an L2 penalty on features as `scaling` says.

    `tolerance` bounds the error of a logit.
    """

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    C: float = 1.0
    scaling: Scaling = "raw"
    tolerance: float = 1e-6
    max_steps: int = 200

    def __post_init__(self) -> None:
        check_positive(C=self.C, tolerance=self.tolerance, max_steps=self.max_steps)

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        z_s, z_q = scale(z_s, z_q, self.scaling)
        mean, axes, theta, steps, converged = self._solve(z_s, y_s)
        return Fit(_with_one((z_q - mean) @ axes) @ theta, steps, converged)

    def coefficients(
        self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"]
    ) -> tuple[Float[Tensor, "e way d"], Float[Tensor, "e way"]]:
        """The solution as weights and intercepts for features as they are, in float64: scores are z Wᵀ + b."""
        check_finite(z_s, "support")
        mean, axes, theta, _, _ = self._solve(z_s, y_s)
        weight = (axes @ theta[:, :-1]).mT
        return weight, theta[:, -1] - (mean @ weight.mT)[:, 0]

    def _solve(self, z_s: Tensor, y_s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        n_way = count_ways(y_s)
        mean, x_s, axes = span(z_s)
        problem = _Problem(x_s, F.one_hot(y_s, n_way).double(), self.C / 2 if n_way == 2 else self.C)
        return mean, axes, *solve(problem, self.tolerance, self.max_steps)


def span(
    z_s: Float[Tensor, "e n d"],
) -> tuple[Float[Tensor, "e 1 d"], Float[Tensor, "e n r"], Float[Tensor, "e d r"]]:
    """Mean of the support features, coordinates of the centred ones in their span, and an orthonormal basis of it."""
    mean = z_s.double().mean(1, keepdim=True)
    centred = z_s - mean
    eigenvalues, u = torch.linalg.eigh(centred @ centred.mT)
    rank = min(z_s.shape[1:])  # at most; eigenvalues come in ascending order
    eigenvalues, u = eigenvalues[:, -rank:], u[:, :, -rank:]
    lengths = eigenvalues.clamp_min(0).sqrt()
    # Directions that hold nothing but rounding errors would be blown up by the division below.
    real = eigenvalues > eigenvalues[:, -1:] * (1e-15 * z_s.shape[1])
    inverse = torch.where(real, 1 / lengths, 0)
    return mean, u * (lengths * real)[:, None], centred.mT @ (u * inverse[:, None])


@dataclass(frozen=True, slots=True)
class _Problem:
    """One regression per episode in coordinates x [e n r], one-hot labels y [e n way]; unknowns theta [e r+1 way].

    The last row of theta is the intercept.
    """

    x: Float[Tensor, "e n r"]
    y: Float[Tensor, "e n way"]
    C: float

    def part(self, episodes: Int64[Tensor, "active"]) -> "_Problem":
        return _Problem(self.x[episodes], self.y[episodes], self.C)

    def loss(self, theta: Float[Tensor, "e r1 way"]) -> Float[Tensor, "e"]:
        log_p = F.log_softmax(_with_one(self.x) @ theta, dim=-1)
        return -self.C * (log_p * self.y).sum((1, 2)) + theta[:, :-1].square().sum((1, 2)) / 2

    def probabilities(self, theta: Float[Tensor, "e r1 way"]) -> Float[Tensor, "e n way"]:
        return F.softmax(_with_one(self.x) @ theta, dim=-1)

    def gradient(self, theta: Float[Tensor, "e r1 way"], p: Float[Tensor, "e n way"]) -> Float[Tensor, "e r1 way"]:
        return _balanced(self.C * _with_one(self.x).mT @ (p - self.y) + _without_intercept(theta))

    def hessian_times(self, v: Float[Tensor, "e r1 way"], p: Float[Tensor, "e n way"]) -> Float[Tensor, "e r1 way"]:
        change = _with_one(self.x) @ v
        change = p * (change - (p * change).sum(-1, keepdim=True))
        return _balanced(self.C * _with_one(self.x).mT @ change + _without_intercept(v))

    def preconditioner(self, p: Float[Tensor, "e n way"]) -> Float[Tensor, "e r1 way"]:
        weight = (p * (1 - p)).mean(1, keepdim=True)
        squares = _with_one(self.x).square().sum(1)[:, :, None]
        penalty = _without_intercept(torch.ones_like(squares))
        return 1 / (self.C * squares * weight + penalty).clamp_min(1e-300)


Solution = tuple[Float[Tensor, "e r1 way"], Int64[Tensor, "e"], Bool[Tensor, "e"]]


def solve(problem: _Problem, tolerance: float, max_steps: int) -> Solution:
    """Newton's method from zero on every episode, converged ones dropping out: theta, steps taken, converged."""
    n_episodes, _, r = problem.x.shape
    theta = problem.x.new_zeros(n_episodes, r + 1, problem.y.shape[2])
    longest = _with_one(problem.x).square().sum(-1).amax(1).sqrt()
    active = torch.arange(n_episodes, device=problem.x.device)
    steps, converged = torch.zeros_like(active), torch.zeros_like(active, dtype=torch.bool)
    for _ in range(max_steps):
        if not len(active):
            break
        part, at = problem.part(active), theta[active]
        p = part.probabilities(at)
        gradient = part.gradient(at, p)
        times = functools.partial(part.hessian_times, p=p)
        direction = conjugate_gradients(times, -gradient, part.preconditioner(p))
        slope = _dot(direction, gradient)
        theta[active], moved = _descend(part, at, direction, slope)
        reached = (-slope).clamp_min(0).sqrt() * longest[active] <= tolerance
        steps[active] += 1
        converged[active] = reached
        active = active[moved & ~reached]
    return theta, steps, converged


def conjugate_gradients(
    times: Callable[[Tensor], Tensor], b: Float[Tensor, "e r1 way"], preconditioner: Float[Tensor, "e r1 way"]
) -> Float[Tensor, "e r1 way"]:
    """Solve times(v) = b for each episode until the residual is small enough for fast convergence of Newton's method.

    Source: Nocedal and Wright 2006, "Numerical optimization", algorithm 5.3 and eq. 7.3.
    """
    v, residual = torch.zeros_like(b), b
    z = _balanced(preconditioner * residual)
    direction, rho = z, _dot(residual, z)
    goal = _norm(b) * _norm(b).sqrt().clamp(1e-3, 0.1)
    for _ in range(2 * b[0].numel()):
        going = _norm(residual) > goal
        if not bool(going.any()):
            break
        image = times(direction)
        curvature = _dot(direction, image)
        alpha = torch.where(going & (curvature > 0), rho / curvature, 0)[:, None, None]
        v = v + alpha * direction
        residual = residual - alpha * image
        z = _balanced(preconditioner * residual)
        rho, previous = _dot(residual, z), rho
        direction = z + torch.where(previous > 0, rho / previous, 0)[:, None, None] * direction
    return v


def _descend(
    problem: _Problem,
    theta: Float[Tensor, "e r1 way"],
    direction: Float[Tensor, "e r1 way"],
    slope: Float[Tensor, "e"],
) -> tuple[Float[Tensor, "e r1 way"], Bool[Tensor, "e"]]:
    """Halve the step of each episode until its loss falls (Armijo); also says which episodes could move at all."""
    start = problem.loss(theta)
    rounding = 1e-15 * problem.C * (_with_one(problem.x) @ theta).abs().sum((1, 2))
    size = torch.ones_like(start)
    for _ in range(40):
        moved = problem.loss(theta + size[:, None, None] * direction) <= start + 1e-4 * size * slope + rounding
        if bool(moved.all()):
            break
        size = torch.where(moved, size, size / 2)
    return theta + torch.where(moved, size, 0)[:, None, None] * direction, moved


def _with_one(x: Float[Tensor, "e n r"]) -> Float[Tensor, "e n r1"]:
    return F.pad(x, (0, 1), value=1.0)


def _without_intercept(theta: Float[Tensor, "e r1 k"]) -> Float[Tensor, "e r1 k"]:
    return torch.cat([theta[:, :-1], torch.zeros_like(theta[:, -1:])], 1)


def _balanced(theta: Float[Tensor, "e r1 way"]) -> Float[Tensor, "e r1 way"]:
    """Without what is common to all classes: no probability depends on it, and at the optimum it is zero."""
    return theta - theta.mean(-1, keepdim=True)


def _dot(a: Float[Tensor, "e r1 way"], b: Float[Tensor, "e r1 way"]) -> Float[Tensor, "e"]:
    return (a * b).sum((1, 2))


def _norm(a: Float[Tensor, "e r1 way"]) -> Float[Tensor, "e"]:
    return _dot(a, a).sqrt()
