"""Laplacian-regularised assignment against a plain loop over steps, queries and neighbours."""

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem
from scipy.special import softmax, xlogy

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.probes.laplacian import LaplacianAssignment
from fewshot_bn.errors import UsageError


def alone_and_weights(z_s, y_s, z_q, *, temperature, neighbours):
    """Distances to the class means, and the symmetric weights of the graph, of one episode."""
    means = [z_s[y_s == c].mean(0) for c in range(y_s.max() + 1)]
    unary = np.array([[np.square(z - mean).sum() / temperature for mean in means] for z in z_q])
    weights = np.zeros((len(z_q), len(z_q)))
    for q in range(len(z_q)):
        others = sorted((p for p in range(len(z_q)) if p != q), key=lambda p: np.square(z_q[q] - z_q[p]).sum())
        for p in others[:neighbours]:
            weights[q, p] += 0.5
            weights[p, q] += 0.5
    return unary, weights


def plain(z_s, y_s, z_q, *, strength, tolerance, max_steps, **graph):
    """Scores, steps and convergence of one episode."""
    unary, weights = alone_and_weights(z_s, y_s, z_q, **graph)
    shares = softmax(-unary, axis=1)
    for step in range(1, max_steps + 1):
        scores = np.array(
            [-unary[q] + strength * sum(weights[q, p] * shares[p] for p in range(len(z_q))) for q in range(len(z_q))]
        )
        change = np.abs(softmax(scores, axis=1) - shares).max()
        shares = softmax(scores, axis=1)
        if change <= tolerance:
            return scores, step, True
    return scores, max_steps, False


@pytest.mark.parametrize("sizes", [[1] * 5, [1, 6], [5] * 3], ids=str)
@pytest.mark.parametrize("neighbours", [1, 3, 100])
@pytest.mark.parametrize(("strength", "max_steps"), [(1.0, 200), (0.2, 3)])
def test_equals_a_plain_loop(sizes, neighbours, strength, max_steps, fresh_seed):
    z_s, y_s, z_q = problem(sizes, 8, fresh_seed)
    settings = {"neighbours": neighbours, "strength": strength, "temperature": 2.0}
    stop = {"tolerance": 1e-8, "max_steps": max_steps}
    fit = LaplacianAssignment(scaling="raw", **settings, **stop)(z_s, y_s, z_q)
    for e in range(len(z_s)):
        scores, steps, converged = plain(*(x[e].numpy() for x in (z_s, y_s, z_q)), **settings, **stop)
        np.testing.assert_allclose(fit.logits[e], scores, rtol=1e-6, atol=1e-6)
        assert abs(int(fit.steps[e]) - steps) <= 1
        assert bool(fit.converged[e]) == converged or abs(steps - max_steps) <= 1


def test_an_episode_that_has_settled_does_not_change_while_others_go_on():
    z_s, y_s, z_q = problem([2] * 3, 8, 5, n_episodes=6)
    probe = LaplacianAssignment(scaling="raw", temperature=5.0, tolerance=1e-3)
    together = probe(z_s, y_s, z_q)
    assert len(together.steps.unique()) > 1
    for e in range(6):
        alone = probe(z_s[e : e + 1], y_s[e : e + 1], z_q[e : e + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[e])
        assert alone.steps[0] == together.steps[e]


def test_what_it_stops_at_is_a_minimum_of_its_energy(fresh_seed):
    """No share that moves a little towards another class lowers the energy."""
    z_s, y_s, z_q = (x[0].numpy() for x in problem([3] * 3, 8, fresh_seed))
    settings = {"neighbours": 3, "temperature": 20.0}
    probe = LaplacianAssignment(scaling="raw", strength=0.3, tolerance=1e-12, max_steps=1000, **settings)
    fit = probe(*(torch.from_numpy(x)[None] for x in (z_s, y_s, z_q)))
    assert fit.converged.all()
    unary, weights = alone_and_weights(z_s, y_s, z_q, **settings)

    def energy(y):
        return xlogy(y, y).sum() + (unary * y).sum() - 0.3 / 2 * (y * (weights @ y)).sum()

    shares = fit.logits[0].softmax(-1).numpy()
    least = energy(shares)
    for q in range(len(z_q)):
        for c in range(3):
            moved = shares.copy()
            moved[q] += 1e-3 * (np.eye(3)[c] - moved[q])
            assert energy(moved) >= least - 1e-12


def test_what_does_not_settle_is_said():
    """Two neighbours that exchange their labels in every step, for ever."""
    z_s, z_q = torch.tensor([[[-1.0], [1.0]]]), torch.tensor([[[-1e-3], [1e-3]]])
    fit = LaplacianAssignment(scaling="raw", strength=50.0)(z_s, torch.tensor([[0, 1]]), z_q)
    assert fit.converged.tolist() == [False]
    assert fit.steps.tolist() == [100]
    assert fit.logits.isfinite().all()


def test_with_a_single_query_it_is_the_nearest_class_mean():
    z_s, y_s, z_q = problem([5] * 3, 8, 0, n_query=1)
    fit = LaplacianAssignment(scaling="raw", temperature=1.0)(z_s, y_s, z_q)
    torch.testing.assert_close(fit.logits, make_adapter("proto")(z_s, y_s, z_q).logits)
    assert (fit.steps.tolist(), fit.converged.tolist()) == ([1] * 3, [True] * 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; it must be a finite number of at least 1e-30"),
        ({"neighbours": 0}, "neighbours is 0; it must be a finite number above 0"),
        ({"strength": -1.0}, "strength is -1.0; it must be a finite number of 0 or more"),
        ({"tolerance": -1.0}, "tolerance is -1.0; it must be a finite number of 0 or more"),
        ({"max_steps": 0}, "max_steps is 0; it must be a finite number above 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UsageError, match=message):
        LaplacianAssignment(**settings)
