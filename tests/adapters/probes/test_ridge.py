"""Ridge regression against scikit-learn, and leave-one-out against leaving each image out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as TheirRidge
from sklearn.linear_model import RidgeCV

from fewshot_bn.adapters.probes.ridge import Ridge, leave_one_out
from fewshot_bn.adapters.probes.span import span


def problem(n_way, n_support, dim, seed, *, n_episodes=2):
    generator = torch.Generator().manual_seed(seed)
    y_s = torch.arange(n_way).repeat_interleave(n_support).expand(n_episodes, -1).contiguous()
    means = torch.randn(n_episodes, n_way, dim, generator=generator, dtype=torch.float64) + 3
    noise_s, noise_q = (
        torch.randn(n_episodes, n, dim, generator=generator, dtype=torch.float64) for n in (y_s.shape[1], 7)
    )
    return means[torch.arange(n_episodes)[:, None], y_s] + noise_s, y_s, means[:, :1] + noise_q


def choice(z_s, y_s):
    """The penalty that leave-one-out chooses, and those it chooses from."""
    y = torch.nn.functional.one_hot(y_s).double().mT
    centred = z_s - z_s.mean(1, keepdim=True)
    mean = centred.square().sum((1, 2)) / centred.shape[1]
    return leave_one_out(span(z_s), y - y.mean(2, keepdim=True)), mean[:, None].numpy() * np.logspace(-6, 6, 49)


@pytest.mark.parametrize(("n_way", "n_support", "dim"), [(5, 1, 20), (5, 5, 40), (3, 20, 6), (2, 4, 30), (20, 2, 15)])
@pytest.mark.parametrize("alpha", [1e-6, 0.5, 1e6])
def test_scores_equal_scikit_learn(n_way, n_support, dim, alpha, fresh_seed):
    z_s, y_s, z_q = problem(n_way, n_support, dim, fresh_seed)
    logits = Ridge(alpha=alpha, scaling="raw")(z_s, y_s, z_q).logits.numpy()
    for e in range(2):
        model = TheirRidge(alpha=alpha, solver="svd").fit(z_s[e], np.eye(n_way)[y_s[e]])
        np.testing.assert_allclose(logits[e], model.predict(z_q[e]), atol=1e-6)


@pytest.mark.parametrize(("n_way", "n_support", "dim"), [(5, 1, 20), (5, 5, 40), (3, 20, 6)])
def test_no_penalty_has_a_smaller_leave_one_out_error_by_scikit_learn(n_way, n_support, dim, fresh_seed):
    z_s, y_s, _ = problem(n_way, n_support, dim, fresh_seed)
    y = torch.nn.functional.one_hot(y_s).double()
    found, grid = choice(z_s, y_s)
    for e in range(2):
        ours, best = (RidgeCV(alphas=alphas).fit(z_s[e], y[e]).best_score_ for alphas in ([float(found[e])], grid[e]))
        assert ours == pytest.approx(best, rel=1e-6)  # ties are many where the penalty is small


def test_the_penalty_has_the_least_error_on_images_that_are_left_out():
    z_s, y_s, _ = problem(3, 6, 8, 0, n_episodes=1)
    y = torch.nn.functional.one_hot(y_s).double()
    found, grid = choice(z_s, y_s)

    def error(alpha):
        total = 0.0
        for i in range(18):
            others = [j for j in range(18) if j != i]
            model = TheirRidge(alpha=alpha, solver="svd").fit(z_s[0, others], y[0, others])
            total += ((model.predict(z_s[0, i : i + 1]) - y[0, i].numpy()) ** 2).sum()
        return total

    assert float(found) == pytest.approx(min(grid[0], key=error))


def test_features_that_never_change_give_equal_scores():
    z_s, y_s, z_q = problem(3, 2, 4, 0)
    fit = Ridge(scaling="raw")(torch.ones_like(z_s), y_s, torch.ones_like(z_q))
    assert torch.allclose(fit.logits, torch.full_like(fit.logits, 1 / 3))
