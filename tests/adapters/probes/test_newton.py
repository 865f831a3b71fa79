"""The solver of many regressions: its derivatives, its independence, its precision."""

import pytest
import torch

from fewshot_bn.adapters.probes import newton
from fewshot_bn.adapters.probes.newton import EXTRAPOLATION, balanced, path, regressions, solve
from fewshot_bn.adapters.probes.span import span


def problem(seed, *, n_sets=3, n_folds=2, n=12, d=20, n_way=3, C=1.0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_sets, n, d, generator=generator, dtype=torch.float64)
    y_s = (torch.arange(n) % n_way).expand(n_sets, -1)
    z = z + 2 * torch.randn(n_sets, n_way, d, generator=generator, dtype=torch.float64)[:, torch.arange(n) % n_way]
    kept = torch.rand(n_sets, n_folds, n, generator=generator) > 0.2
    kept[..., :n_way] = True  # without an image of its own, a class has no optimal intercept
    return regressions(span(z), y_s, n_way).weighted(C * kept.double())


def objective(task, theta):
    return task.losses(task.scores(theta)) + (task.penalty * theta.square()).sum((2, 3)) / 2


def test_the_hessian_is_the_derivative_of_the_gradient_and_the_gradient_that_of_the_loss(fresh_seed):
    task = problem(fresh_seed, C=0.7)
    size = (2, *task.weights.shape[:2], 3, task.x.shape[1])
    theta, v = torch.randn(size, generator=torch.Generator().manual_seed(fresh_seed), dtype=torch.float64)
    v = balanced(v)

    def change(f):
        return (f(theta + 1e-5 * v) - f(theta - 1e-5 * v)) / 2e-5

    def gradient(theta):
        return task.gradient(theta, task.scores(theta).softmax(2))

    slope = (gradient(theta) * v).sum((2, 3))
    assert torch.allclose(slope, change(lambda t: objective(task, t)), rtol=1e-5, atol=1e-5)
    assert torch.allclose(task.hessian_times(v, task.scores(theta).softmax(2)), change(gradient), atol=1e-5)


@pytest.mark.parametrize("C", [1e-6, 1.0, 1e6])
def test_no_other_theta_is_better(C, fresh_seed):
    task = problem(fresh_seed, C=C)
    solution = solve(task, tolerance=1e-8, max_steps=300)
    assert solution.converged.all()
    best = objective(task, solution.theta)
    generator = torch.Generator().manual_seed(fresh_seed)
    for size in (1e-4, 1e-2, 1.0):
        other = solution.theta + size * torch.randn(solution.theta.shape, generator=generator, dtype=torch.float64)
        assert (objective(task, other) >= best).all()


def test_folds_are_what_they_are_alone_and_sets_too(fresh_seed):
    task = problem(fresh_seed, n_sets=4, n_folds=3)
    together = solve(task, tolerance=1e-9, max_steps=100)
    for e in range(4):
        for f in range(3):
            alone = task.part(torch.tensor([e]))
            alone = newton.replace(alone, weights=alone.weights[:, f : f + 1])
            assert torch.allclose(
                solve(alone, tolerance=1e-9, max_steps=100).theta[0, 0], together.theta[e, f], atol=1e-7
            )


def test_an_image_of_no_weight_has_no_say(fresh_seed):
    task = problem(fresh_seed, n_folds=1)
    expected = solve(task, tolerance=1e-9, max_steps=100).theta
    left_out = task.weights[:, 0] == 0
    x = torch.where(left_out[:, None] & (torch.arange(task.x.shape[1]) < task.x.shape[1] - 1)[:, None], 7.0, task.x)
    assert torch.allclose(solve(newton.replace(task, x=x), tolerance=1e-9, max_steps=100).theta, expected, atol=1e-7)


def test_sets_that_have_converged_are_left_alone(fresh_seed):
    task = problem(fresh_seed, n_sets=3, n_folds=1)
    scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)[:, None, None]
    task = task.weighted(scale)
    solution = solve(task, tolerance=1e-6, max_steps=100)
    assert solution.converged.all()
    assert len(set(solution.steps.tolist())) > 1
    again = solve(task, tolerance=1e-6, max_steps=100, start=solution.theta)
    assert again.steps.tolist() == [1, 1, 1]


def test_the_path_gives_what_each_C_gives_alone(fresh_seed):
    task, Cs = problem(fresh_seed), torch.logspace(-4, 4, 17).tolist()
    cold = warm = 0
    for C, (scaled, solution) in zip(Cs, path(task, Cs, tolerance=1e-6, max_steps=100), strict=True):
        assert torch.equal(scaled.weights, task.weights * C)
        alone = solve(task.weighted(C), tolerance=1e-6, max_steps=100)
        assert solution.converged.all()
        assert torch.allclose(solution.theta, alone.theta, atol=1e-4)
        warm, cold = warm + int(solution.steps.sum()), cold + int(alone.steps.sum())
    assert warm < cold


def test_the_next_value_is_that_of_the_polynomial():
    values = [2 + 3 * i + 5 * i**2 for i in range(4)]
    assert sum(w * v for w, v in zip(EXTRAPOLATION[3], values[:3], strict=True)) == values[3]
    assert sum(w * v for w, v in zip(EXTRAPOLATION[2], [1, 4], strict=True)) == 7


def test_where_float32_fails_float64_goes_on(fresh_seed, monkeypatch):
    """Directions that lead nowhere in float32 do not end the search."""
    task, precisions, kept = problem(fresh_seed), [], newton._newton_direction

    def direction(low, gradient, p):
        precisions.append(low.x.dtype)
        found = kept(low, gradient, p)
        return -found if low.x.dtype is torch.float32 else found  # uphill

    expected = solve(task, tolerance=1e-7, max_steps=100)
    monkeypatch.setattr(newton, "_newton_direction", direction)
    found = solve(task, tolerance=1e-7, max_steps=100)
    assert torch.float64 in precisions
    assert found.converged.all()
    assert torch.allclose(found.theta, expected.theta, atol=1e-5)


def test_the_gradient_norm_is_that_of_the_solution():
    task = problem(0)
    solution = solve(task, tolerance=1e-6, max_steps=2)
    assert not solution.converged.any()
    theta = solution.theta.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(task, theta).sum(), theta)
    assert torch.allclose(balanced(gradient).square().sum((2, 3)).sqrt(), solution.gradient_norm)
