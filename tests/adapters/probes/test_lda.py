"""Linear discriminant analysis against scikit-learn, one episode at a time; the amount of shrinkage likewise."""

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem
from sklearn.covariance import ledoit_wolf as their_ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.probes.lda import LinearDiscriminant, ledoit_wolf
from fewshot_bn.adapters.probes.proto import class_means
from fewshot_bn.errors import UsageError

SIZES = [[5] * 5, [1, 2, 3, 7], [3, 9], [30, 20, 10], [2] * 20, [2, 1]]


def within(z_s, y_s):
    """Images relative to the mean of their class."""
    means = class_means(z_s, y_s, int(y_s.max()) + 1)
    return z_s - means.gather(1, y_s[:, :, None].expand_as(z_s))


def sklearn_lda(z_s, y_s, z_q, shrinkage):
    """Class probabilities."""
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    return np.stack([model.fit(*episode[:2]).predict_proba(episode[2]) for episode in zip(z_s, y_s, z_q, strict=True)])


@pytest.mark.filterwarnings("ignore:Only one sample")  # scikit-learn's, of a class with one image
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dim", [4, 80])
@pytest.mark.parametrize("shrinkage", [1e-4, 0.3, 1.0])
def test_probabilities_equal_scikit_learn(sizes, dim, shrinkage, fresh_seed):
    z_s, y_s, z_q = problem(sizes, dim, fresh_seed)
    logits = LinearDiscriminant(shrinkage=shrinkage, scaling="raw")(z_s, y_s, z_q).logits
    np.testing.assert_allclose(logits.softmax(-1), sklearn_lda(z_s, y_s, z_q, shrinkage), atol=1e-8)


@pytest.mark.parametrize("dim", [4, 80])
def test_duplicated_images_and_a_constant_feature(dim, fresh_seed):
    z_s, y_s, z_q = problem([3, 4, 5], dim, fresh_seed)
    z_s, y_s = torch.cat([z_s, z_s[:, :6]], 1), torch.cat([y_s, y_s[:, :6]], 1)
    z_s[..., 1] = z_q[..., 1] = 5.0
    logits = LinearDiscriminant(shrinkage=0.1, scaling="raw")(z_s, y_s, z_q).logits
    np.testing.assert_allclose(logits.softmax(-1), sklearn_lda(z_s, y_s, z_q, 0.1), atol=1e-8)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dim", [1, 4, 80])
def test_the_default_shrinkage_is_that_of_ledoit_and_wolf(sizes, dim, fresh_seed):
    z_s, y_s, z_q = problem(sizes, dim, fresh_seed)
    logits = LinearDiscriminant(scaling="raw")(z_s, y_s, z_q).logits
    for e in range(len(z_s)):
        amount = their_ledoit_wolf(within(z_s, y_s)[e].numpy(), assume_centered=True)[1]
        if dim > 1:  # with one feature, any amount gives the same
            assert float(ledoit_wolf(within(z_s, y_s), dim)[e]) == pytest.approx(amount, abs=1e-10)
        alone = LinearDiscriminant(shrinkage=amount or 0.5, scaling="raw")(
            z_s[e : e + 1], y_s[e : e + 1], z_q[e : e + 1]
        )
        torch.testing.assert_close(logits[e], alone.logits[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
@pytest.mark.parametrize("copies", [1, 3])
def test_where_images_of_a_class_coincide_the_nearest_class_mean_decides(shrinkage, copies, fresh_seed):
    z_s, y_s, z_q = problem([1] * 5, 30, fresh_seed)
    z_s, y_s = z_s.repeat(1, copies, 1) * 0.1, y_s.repeat(1, copies)
    logits = LinearDiscriminant(shrinkage=shrinkage, scaling="raw")(z_s, y_s, z_q).logits
    expected = make_adapter("proto")(z_s, y_s, z_q).logits / 2
    difference = logits - expected
    torch.testing.assert_close(difference, difference.mean(-1, keepdim=True).expand_as(difference))


def test_features_that_never_change_give_the_class_frequencies():
    z_s, z_q = torch.full((1, 4, 3), 0.1), torch.ones(1, 2, 3)
    fit = LinearDiscriminant(scaling="raw")(z_s, torch.tensor([[0, 0, 0, 1]]), z_q)
    torch.testing.assert_close(fit.logits.softmax(-1)[0, 0], torch.tensor([0.75, 0.25], dtype=torch.float64))


@pytest.mark.parametrize("shrinkage", [0.0, 1e-300])
def test_scores_are_finite_where_the_estimate_is_no_shrinkage(shrinkage):
    z_s = torch.tensor([[[0.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 5.0, 0.0], [2.0, 5.0, 0.0]]])
    y_s = torch.tensor([[0, 0, 1, 1]])
    assert ledoit_wolf(within(z_s, y_s), 3).tolist() == [0]
    logits = LinearDiscriminant(shrinkage=shrinkage, scaling="raw")(
        z_s, y_s, torch.tensor([[[1.0, 2.0, 9.0], [1.0, 4.0, 9.0]]])
    ).logits
    assert logits.isfinite().all()
    assert logits.argmax(-1).tolist() == [[0, 1]]


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, float("nan")])
def test_a_shrinkage_out_of_range_is_an_error(shrinkage):
    with pytest.raises(UsageError, match=f"shrinkage is {shrinkage}; it must be at least 0 and at most 1"):
        LinearDiscriminant(shrinkage=shrinkage)


def test_large_batches_and_changes_of_the_number_of_threads_do_no_harm():
    """Batched LU decompositions of torch fail there (pivots below 1); Cholesky's do not."""
    n_threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    z_s, z_q = (torch.randn(25, n, 300, generator=generator) for n in (250, 5))
    y_s = torch.arange(5).repeat_interleave(50).repeat(25, 1)
    expected = LinearDiscriminant()(z_s[:1], y_s[:1], z_q[:1]).logits
    try:
        torch.set_num_threads(1)
        torch.set_num_threads(2)
        assert torch.allclose(LinearDiscriminant()(z_s, y_s, z_q).logits[:1], expected, atol=1e-6)
    finally:
        torch.set_num_threads(n_threads)
