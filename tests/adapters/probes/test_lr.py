"""The batched probe against scikit-learn, one episode at a time, in float64 at tight tolerance."""

import numpy as np
import pytest
import torch
from reference.problems import adapter_with, feature_problem

from benchmarks.references import sklearn_lr
from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.probes.lr import GRID, LogisticRegression, deal
from fewshot_bn.errors import UsageError


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
    fit = adapter_with("lr-c1", {"C": str(C)})(z_s, y_s, z_q)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, C), atol=1e-5)


@pytest.mark.parametrize("C", [1e-6, 1e3, 1e6])
@pytest.mark.parametrize(("n_support", "dim"), [(5, 64), (30, 8)])
def test_the_gradient_of_the_objective_vanishes_at_extreme_penalties(C, n_support, dim):
    """Where scikit-learn's own solvers stop early, the optimum is checked by its own condition, in all dimensions."""
    z_s, y_s, _ = problem(5, n_support, dim, spread=0.3)
    fit = adapter_with("lr-c1", {"C": str(C), "tolerance": "1e-8"})(z_s, y_s, z_s)
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
    fit = make_adapter("lr-c1")(z_s, y_s, z_q)
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, 1.0), atol=1e-5)


def test_features_that_say_nothing_give_the_class_frequencies():
    z = torch.ones(1, 6, 4)
    fit = make_adapter("lr-c1")(z, torch.tensor([[0, 0, 0, 1, 1, 2]]), z[:, :2])
    np.testing.assert_allclose(fit.logits.softmax(-1)[0, 0].numpy(), [3 / 6, 2 / 6, 1 / 6], atol=1e-6)


def test_unequal_class_sizes():
    z_s, _, z_q = problem(3, 4, 10, n_episodes=1)
    y_s = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2]])
    fit = make_adapter("lr-c1")(z_s, y_s, z_q)
    np.testing.assert_allclose(fit.logits.softmax(-1).numpy(), sklearn_lr(z_s, y_s, z_q, 1.0), atol=1e-5)


def test_a_fit_that_runs_out_of_steps_says_so():
    fit = adapter_with("lr-c1", {"max_steps": "1"})(*problem(3, 5, 10))
    assert (fit.steps.tolist(), fit.converged.tolist()) == ([1] * 3, [False] * 3)
    longer = make_adapter("lr-c1")(*problem(3, 5, 10))
    assert (fit.measures["gradient_norm"] > 10 * longer.measures["gradient_norm"]).all()


@pytest.mark.parametrize("n_way", [2, 3])
def test_coefficients_give_the_scores_as_a_linear_layer(n_way):
    z_s, y_s, z_q = problem(n_way, 4, 12)
    weight, bias = LogisticRegression(C=2.0, select="fixed", scaling="raw").coefficients(z_s, y_s)
    scores = z_q.double() @ weight.mT + bias[:, None]
    assert torch.allclose(
        scores, LogisticRegression(C=2.0, select="fixed", scaling="raw")(z_s, y_s, z_q).logits, atol=1e-9
    )


def left_out_loss(z_s, y_s, left_out, C):
    """The mean loss of left-out images by scikit-learn, a fit for each fold."""
    losses = []
    for fold in left_out:
        kept = ~fold
        p = sklearn_lr(z_s[None, kept], y_s[None, kept], z_s[None, fold], C)[0]
        losses += [-np.log(p[range(len(p)), y_s[fold]].clip(np.finfo(float).tiny))]  # 0 where C is large
    return np.concatenate(losses).mean()


@pytest.mark.filterwarnings("ignore:(?i).*line search")
@pytest.mark.parametrize(
    ("n_way", "n_support", "dim"), [(2, 4, 6), (3, 3, 20), pytest.param(3, 7, 5, marks=pytest.mark.full)]
)
@pytest.mark.parametrize("select", ["kfold", "loo"])
def test_the_chosen_C_has_the_least_loss_on_left_out_images_by_scikit_learn(n_way, n_support, dim, select, fresh_seed):
    z_s, y_s, z_q = problem(n_way, n_support, dim, n_episodes=2, spread=1.2, seed=fresh_seed)
    probe = LogisticRegression(select=select, folds=3, scaling="raw")
    fit = probe(z_s, y_s, z_q)
    centred = z_s.double() - z_s.double().mean(1, keepdim=True)
    for e in range(2):
        n = n_way * n_support
        left_out = torch.eye(n, dtype=torch.bool)
        if select == "kfold":
            left_out = deal(centred.square().sum(-1), y_s, min(3, n_support))[e]
        grid = GRID.numpy() / float(centred[e].square().sum() / n)
        losses = [left_out_loss(z_s[e], y_s[e], left_out, C) for C in grid]
        found = float(fit.measures["C"][e])
        assert losses[int(np.abs(grid - found).argmin())] == pytest.approx(min(losses), rel=2e-3)
        expected = LogisticRegression(C=found, select="fixed", scaling="raw")(
            z_s[e : e + 1], y_s[e : e + 1], z_q[e : e + 1]
        )
        assert torch.allclose(expected.logits[0], fit.logits[e], atol=0.01)


def test_every_image_is_left_out_once_and_every_fold_keeps_every_class(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    y_s = torch.tensor([[0] * 7 + [1] * 4 + [2] * 5]).repeat(3, 1)
    y_s = torch.stack([row[torch.randperm(16, generator=generator)] for row in y_s])
    lengths = torch.rand(3, 16, generator=generator, dtype=torch.float64)
    left_out = deal(lengths, y_s, 4)
    assert (left_out.sum(1) == 1).all()
    for e in range(3):
        for fold in left_out[e]:
            assert set(y_s[e][~fold].tolist()) == {0, 1, 2}
            assert 1 <= int(fold[y_s[e] == 0].sum()) <= 2
            assert int(fold[y_s[e] == 1].sum()) == 1
    order = torch.randperm(16, generator=generator)
    assert torch.equal(deal(lengths[:, order], y_s[:, order], 4), left_out[:, :, order])


@pytest.mark.parametrize("select", ["kfold", "loo"])
def test_with_one_image_of_each_class_C_is_as_given(select):
    z_s, y_s, z_q = problem(3, 1, 10)
    fit = LogisticRegression(C=0.3, select=select)(z_s, y_s, z_q)
    assert fit.measures["C"].tolist() == [0.3] * 3
    assert torch.equal(fit.logits, LogisticRegression(C=0.3, select="fixed")(z_s, y_s, z_q).logits)


@pytest.mark.filterwarnings("ignore:(?i).*line search")
@pytest.mark.parametrize(
    ("sizes", "select"),
    [
        ([4, 1, 2], "kfold"),
        ([4, 1, 2], "loo"),
        pytest.param([6, 2, 1, 1], "kfold", marks=pytest.mark.full),
    ],
)
def test_the_only_image_of_a_class_is_never_left_out(sizes, select, fresh_seed):
    """Against fits of scikit-learn to folds that are dealt image by image, in a loop."""
    z_s, y_s, z_q = feature_problem(sizes, 8, fresh_seed, n_episodes=1)
    fit = LogisticRegression(select=select, folds=3, scaling="raw")(z_s, y_s, z_q)
    centred = z_s[0] - z_s[0].mean(0)
    lengths, labels = centred.square().sum(1).tolist(), y_s[0].tolist()
    dealt, n_dealt = [None] * len(labels), 0
    for k, size in enumerate(sizes):
        own = sorted((i for i, label in enumerate(labels) if label == k), key=lambda i: lengths[i])
        for place, i in enumerate(own if size > 1 else []):
            dealt[i] = place % 3 if select == "kfold" else n_dealt
            n_dealt += 1
    folds = sorted({own for own in dealt if own is not None})
    left_out = [torch.tensor([fold == own for own in dealt]) for fold in folds]
    grid = GRID.numpy() / float(centred.square().sum() / len(labels))
    losses = [left_out_loss(z_s[0], y_s[0], left_out, C) for C in grid]
    found = float(fit.measures["C"][0])
    assert losses[int(np.abs(grid - found).argmin())] == pytest.approx(min(losses), rel=2e-3)


@pytest.mark.parametrize("select", ["kfold", "loo"])
def test_what_is_chosen_does_not_depend_on_the_balance_of_other_episodes(select, fresh_seed):
    z_s, _, z_q = feature_problem([9], 12, fresh_seed, n_episodes=4)
    y_s = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 1, 2, 2, 2, 2, 2, 2, 2], [0, 1, 1, 1, 1, 2, 2, 2, 2]])
    y_s = torch.stack([*y_s, torch.tensor([2, 2, 1, 0, 0, 0, 0, 0, 1])])
    probe = LogisticRegression(select=select, folds=5)
    together = probe(z_s, y_s, z_q)
    for e in range(4):
        alone = probe(z_s[e : e + 1], y_s[e : e + 1], z_q[e : e + 1])
        assert torch.allclose(alone.measures["C"][0], together.measures["C"][e])
        assert torch.allclose(alone.logits[0], together.logits[e], atol=1e-3)


@pytest.mark.parametrize("scaling", ["raw", "l2", "standard", "centred_l2"])
@pytest.mark.parametrize("dim", [4, 80])
def test_images_that_are_all_alike_leave_nothing_to_choose(scaling, dim):
    z_s, y_s, z_q = problem(3, 5, dim)
    z_s[1] = z_s[1, :1]  # others of the chunk are as without it
    fit = LogisticRegression(C=0.3, scaling=scaling)(z_s, y_s, z_q)
    assert fit.converged.all()
    assert float(fit.measures["C"][1]) == 0.3
    assert torch.allclose(fit.logits[1].softmax(-1), torch.full((20, 3), 1 / 3, dtype=torch.float64))
    alone = LogisticRegression(C=0.3, scaling=scaling)(z_s[:1], y_s[:1], z_q[:1])
    assert torch.allclose(alone.logits[0], fit.logits[0], atol=1e-6)


def test_the_unit_of_the_features_does_not_change_what_is_chosen():
    z_s, y_s, z_q = problem(3, 5, 10)
    fits = [LogisticRegression(scaling="raw")(z_s * unit, y_s, z_q * unit) for unit in (1.0, 1000.0)]
    assert torch.allclose(fits[0].measures["C"], 1e6 * fits[1].measures["C"], rtol=1e-4)
    assert torch.allclose(fits[0].logits, fits[1].logits, atol=1e-2)


@pytest.mark.parametrize("unit", [1e-6, 1e4, 1e6])
@pytest.mark.parametrize("C", [1e-6, 1.0, 1e10])
def test_units_and_penalties_of_any_size_converge(unit, C):
    z_s, y_s, z_q = problem(5, 5, 64, spread=0.3)
    fit = LogisticRegression(C=C, select="fixed", scaling="raw")(unit * z_s, y_s, unit * z_q)
    assert fit.converged.all()
    same = LogisticRegression(C=C * unit**2, select="fixed", scaling="raw")(z_s, y_s, z_q)
    assert torch.allclose(fit.logits.softmax(-1), same.logits.softmax(-1), atol=1e-4)


def test_fewer_than_two_folds_are_an_error():
    with pytest.raises(UsageError, match="folds is 1; it must be at least 2"):
        LogisticRegression(folds=1)
