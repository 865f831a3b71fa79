"""Soft k-means against a plain loop over episodes, queries and classes."""

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.probes.soft_kmeans import SoftKMeans
from fewshot_bn.errors import UsageError


def plain(z_s, y_s, z_q, *, temperature, steps):
    """Scores of one episode."""
    n_way = y_s.max() + 1
    means = [z_s[y_s == c].mean(0) for c in range(n_way)]

    def scores():
        return np.array([[-np.square(z - mean).sum() / temperature for mean in means] for z in z_q])

    for _ in range(steps):
        shares = np.exp(scores() - scores().max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        for c in range(n_way):
            total, weight = z_s[y_s == c].sum(0), (y_s == c).sum()
            for z, share in zip(z_q, shares, strict=True):
                total, weight = total + share[c] * z, weight + share[c]
            means[c] = total / weight
    return scores()


@pytest.mark.parametrize("sizes", [[1] * 5, [1, 6], [5] * 3, [3, 1, 7]], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 30.0])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_equals_a_plain_loop(sizes, temperature, steps, fresh_seed):
    z_s, y_s, z_q = problem(sizes, 8, fresh_seed)
    logits = SoftKMeans(scaling="raw", temperature=temperature, steps=steps)(z_s, y_s, z_q).logits
    for e in range(len(z_s)):
        expected = plain(*(x[e].numpy() for x in (z_s, y_s, z_q)), temperature=temperature, steps=steps)
        np.testing.assert_allclose(logits[e], expected, rtol=1e-6)


def test_without_steps_it_is_the_nearest_class_mean():
    z_s, y_s, z_q = problem([5] * 3, 8, 0)
    found = SoftKMeans(scaling="l2", temperature=0.5, steps=0)(z_s, y_s, z_q).logits
    torch.testing.assert_close(found, 2 * make_adapter("proto", scaling="l2")(z_s, y_s, z_q).logits)


def test_a_step_moves_the_means_towards_their_queries():
    z_s = torch.tensor([[[0.0], [10.0]]])
    z_q = torch.tensor([[[3.0], [4.0], [4.5]]])  # all are nearest to the first
    fit = SoftKMeans(scaling="raw", temperature=0.1)(z_s, torch.tensor([[0, 1]]), z_q)
    means = (0 + 3 + 4 + 4.5) / 4, 10
    expected = [[-((z - mean) ** 2) / 0.1 for mean in means] for z in (3, 4, 4.5)]
    np.testing.assert_allclose(fit.logits[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": float("nan")}, "temperature is nan; it must be a finite number of at least 1e-30"),
        ({"steps": -1}, "steps is -1; it must be a finite number of 0 or more"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UsageError, match=message):
        SoftKMeans(**settings)
