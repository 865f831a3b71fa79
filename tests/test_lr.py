"""The batched probe against scikit-learn, one episode at a time, in float64 at tight tolerance."""

import numpy as np
import pytest
import torch
from references import sklearn_lr

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.lr import LogisticRegression, _Problem, solve, span


def problem(n_way, n_support, dim, *, n_episodes=3, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(n_episodes, n_way, dim, generator=generator)
    y_s = torch.arange(n_way).repeat_interleave(n_support).expand(n_episodes, -1).contiguous()
    noise_s, noise_q = (torch.randn(n_episodes, n, dim, generator=generator) for n in (y_s.shape[1], 20))
    y_q = torch.randint(n_way, (n_episodes, 20), generator=generator)
    every = torch.arange(n_episodes)[:, None]
    return means[every, y_s] + noise_s, y_s, means[every, y_q] + noise_q


@pytest.mark.filterwarnings("ignore:(?i).*line search")  # scikit-learn's, at the rounding errors of its last step
@pytest.mark.parametrize("C", [1e-4, 1.0, 100.0])
@pytest.mark.parametrize(
    ("n_way", "n_support", "dim"),
    [(5, 1, 64), (5, 5, 64), (5, 20, 16), (2, 5, 32), (2, 30, 4), (12, 3, 40)],
)
def test_probabilities_equal_scikit_learn(n_way, n_support, dim, C):
    z_s, y_s, z_q = problem(n_way, n_support, dim, spread=0.7)
    fit = make_adapter("lr", {"C": str(C)})(z_s, y_s, z_q)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, C), atol=2e-6)


@pytest.mark.parametrize("C", [1e-6, 1e3, 1e6])
@pytest.mark.parametrize(("n_support", "dim"), [(5, 64), (30, 8)])
def test_the_gradient_of_the_objective_vanishes_at_extreme_penalties(C, n_support, dim):
    """Where scikit-learn's own solvers stop early, the optimum is checked by its own condition, in all dimensions."""
    z_s, y_s, _ = problem(5, n_support, dim, spread=0.3)
    fit = make_adapter("lr", {"C": str(C)})(z_s, y_s, z_s)
    assert fit.converged.all()
    excess = fit.logits.softmax(-1) - torch.nn.functional.one_hot(y_s)
    assert excess.sum(1).abs().max() < 1e-6  # the intercept's condition
    z = z_s.double()
    weights = -C * excess.mT @ (z - z.mean(1, keepdim=True))  # W at the optimum, from the gradient's first condition
    logits = z @ weights.mT
    differences = (logits - fit.logits) - (logits - fit.logits).mean(1, keepdim=True)
    assert differences.abs().max() < 1e-3 * fit.logits.abs().max()


def test_duplicated_support_images_and_constant_features():
    z_s, y_s, z_q = problem(3, 4, 10)
    z_s[:, 1::2] = z_s[:, ::2]
    z_s[..., 7] = z_q[..., 7] = 5.0
    fit = make_adapter("lr")(z_s, y_s, z_q)
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, 1.0), atol=2e-6)


def test_features_that_say_nothing_give_the_class_frequencies():
    z = torch.ones(1, 6, 4)
    fit = make_adapter("lr")(z, torch.tensor([[0, 0, 0, 1, 1, 2]]), z[:, :2])
    np.testing.assert_allclose(fit.logits.softmax(-1)[0, 0].numpy(), [3 / 6, 2 / 6, 1 / 6], atol=1e-6)


def test_unequal_class_sizes():
    z_s, _, z_q = problem(3, 4, 10, n_episodes=1)
    y_s = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2]])
    fit = make_adapter("lr")(z_s, y_s, z_q)
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, 1.0), atol=2e-6)


def test_a_fit_that_runs_out_of_steps_says_so():
    fit = make_adapter("lr", {"max_steps": "1"})(*problem(3, 5, 10))
    assert (fit.steps.tolist(), fit.converged.tolist()) == ([1] * 3, [False] * 3)


def test_coordinates_in_the_span_keep_all_products():
    z_s, _, z_q = problem(5, 5, 64)
    mean, x_s, axes = span(z_s)
    x_q = (z_q - mean) @ axes
    centred_s, centred_q = (z.double() - z_s.double().mean(1, keepdim=True) for z in (z_s, z_q))
    assert torch.allclose(x_s @ x_s.mT, centred_s @ centred_s.mT, atol=1e-9)
    assert torch.allclose(x_q @ x_s.mT, centred_q @ centred_s.mT, atol=1e-9)


def test_the_hessian_is_the_derivative_of_the_gradient_and_the_gradient_that_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    y = torch.nn.functional.one_hot(torch.arange(9) % 3).double().expand(2, -1, -1)
    task = _Problem(x, y, 0.7)
    theta, v = torch.randn(2, 2, 5, 3, generator=generator, dtype=torch.float64)
    balanced = v - v.mean(-1, keepdim=True)
    step = 1e-6 * balanced

    def change(f):
        return (f(theta + step) - f(theta - step)) / 2e-6

    gradient = task.gradient(theta, task.probabilities(theta))
    assert torch.allclose((gradient * balanced).sum((1, 2)), change(task.loss), rtol=1e-6)
    expected = change(lambda t: task.gradient(t, task.probabilities(t)))
    assert torch.allclose(task.hessian_times(balanced, task.probabilities(theta)), expected, atol=1e-7)


def test_converged_episodes_drop_out_and_keep_their_answer():
    z_s, y_s, _ = problem(3, 5, 10, n_episodes=4)
    z_s[0] *= 30  # this one takes more steps
    _, x_s, _ = span(z_s)
    y = torch.nn.functional.one_hot(y_s).double()
    together, steps, converged = solve(_Problem(x_s, y, 10.0), 1e-6, 100)
    assert converged.all()
    alone = [solve(_Problem(x_s[e : e + 1], y[e : e + 1], 10.0), 1e-6, 100) for e in range(4)]
    assert [int(fit[1]) for fit in alone] == steps.tolist()
    assert len(set(steps.tolist())) > 1
    for e, (theta, _, _) in enumerate(alone):
        assert torch.allclose(theta[0], together[e], atol=1e-9)


@pytest.mark.parametrize("n_way", [2, 3])
def test_coefficients_give_the_scores_as_a_linear_layer(n_way):
    z_s, y_s, z_q = problem(n_way, 4, 12)
    weight, bias = LogisticRegression(C=2.0).coefficients(z_s, y_s)
    scores = z_q.double() @ weight.mT + bias[:, None]
    assert torch.allclose(scores, LogisticRegression(C=2.0)(z_s, y_s, z_q).logits, atol=1e-9)
