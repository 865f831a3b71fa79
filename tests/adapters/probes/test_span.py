import pytest
import torch

from fewshot_bn.adapters.probes import span as module
from fewshot_bn.adapters.probes.scaling import scale
from fewshot_bn.adapters.probes.span import gram, scaled_parts, span


def features(n, d, n_query=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [3 + torch.randn(4, m, d, generator=generator) for m in (n, n_query)]


@pytest.mark.parametrize("scaling", ["raw", "l2", "standard", "centred_l2"])
@pytest.mark.parametrize(("n", "d"), [(9, 40), (40, 9), (9, 9)])
def test_coordinates_keep_all_products_and_weights_keep_all_scores(n, d, scaling, fresh_seed):
    z_s, z_q = features(n, d, seed=fresh_seed)
    space = span(z_s, scaling)
    s, q = scale(z_s, z_q, scaling)
    mean = s.mean(1, keepdim=True)
    centred = s - mean
    assert torch.allclose(space.x.mT @ space.x, centred @ centred.mT, atol=1e-9)
    assert torch.allclose(space.x @ space.x.mT, torch.diag_embed(space.squares), atol=1e-9)
    theta = torch.randn(4, 3, space.x.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    intercept = torch.arange(12.0, dtype=torch.float64).view(4, 3)
    weights = space.weights(theta, centred, slice(None))
    assert torch.allclose(weights @ centred.mT, theta @ space.x, atol=1e-9)
    scores = space.scores(theta, intercept, z_s, z_q, scaling=scaling)
    assert torch.allclose(scores, (q - mean) @ weights.mT + intercept[:, None], atol=1e-9)
    x_q = space.coordinates(z_s, z_q, scaling=scaling)
    assert torch.allclose((theta @ x_q).mT + intercept[:, None], scores, atol=1e-9)


def test_weights_are_as_long_as_theta_where_nothing_is_degenerate(fresh_seed):
    z_s, _ = features(9, 40, seed=fresh_seed)
    space = span(z_s)
    theta = torch.randn(4, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theta[:, :, 0] = 0  # the centred features of 9 images have 8 directions
    centred = z_s.double() - z_s.double().mean(1, keepdim=True)
    weights = space.weights(theta, centred, slice(None))
    assert torch.allclose(weights.square().sum(-1), theta.square().sum(-1))


def test_duplicated_images_and_constant_features_have_no_direction_of_their_own():
    z_s, _ = features(6, 40)
    z_s = torch.cat([z_s, z_s], 1)
    space = span(z_s)
    assert ((space.squares > 0).sum(1) == 5).all()
    assert space.back.isfinite().all()
    assert (span(torch.ones(2, 5, 8)).x == 0).all()
    assert (span(torch.full((2, 9, 8), 0.1)).x == 0).all()
    z_s = torch.cat([z_s[..., :4], z_s[..., :4]], -1)  # 12 images, 8 features of which 4 are copies
    assert ((span(z_s).squares > 0).sum(1) == 4).all()


@pytest.mark.parametrize("n", [3, 64, 65, 150])
def test_gram(n):
    z = torch.randn(2, n, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(gram(z), z @ z.mT)


def test_parts_cover_all_episodes_and_are_bounded(monkeypatch):
    z_s, z_q = features(9, 40)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 3 * (z_s[0].numel() + z_q[0].numel()))
    parts = list(scaled_parts(z_s, z_q, "raw"))
    assert [len(s) for _, s, _ in parts] == [3, 1]
    assert torch.equal(torch.cat([q for _, _, q in parts]), z_q.double())
    assert torch.equal(span(z_s).squares[:3], span(z_s[:3]).squares)
