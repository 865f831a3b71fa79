"""Scaling of features against scikit-learn's."""

import numpy as np
import pytest
import torch
from reference.problems import adapter_with
from sklearn.preprocessing import StandardScaler, normalize

from fewshot_bn.adapters.probes.scaling import scale


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return [3 + torch.randn(2, n, 5, generator=generator) for n in (6, 4)]


@pytest.mark.parametrize("scaling", ["raw", "l2", "standard", "centred_l2", "centred_all_l2", "centred_each_l2"])
def test_equals_scikit_learn(features, scaling):
    found = scale(*features, scaling)
    for e in range(2):
        z_s, z_q = (z[e].double().numpy() for z in features)
        mean, of_all = z_s.mean(0), np.concatenate([z_s, z_q]).mean(0)
        expected = {
            "raw": (z_s, z_q),
            "l2": (normalize(z_s), normalize(z_q)),
            "standard": (StandardScaler().fit_transform(z_s), StandardScaler().fit(z_s).transform(z_q)),
            "centred_l2": (normalize(z_s - mean), normalize(z_q - mean)),
            "centred_all_l2": (normalize(z_s - of_all), normalize(z_q - of_all)),
            "centred_each_l2": (normalize(z_s - mean), normalize(z_q - z_q.mean(0))),
        }[scaling]
        for z, value in zip(found, expected, strict=True):
            np.testing.assert_allclose(z[e].numpy(), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scaling", ["l2", "standard", "centred_l2", "centred_all_l2", "centred_each_l2"])
def test_features_that_are_zero_or_never_change_stay_finite(scaling):
    z_s, z_q = torch.zeros(1, 4, 3), torch.full((1, 2, 3), 7.0)
    assert all(z.isfinite().all() for z in scale(z_s, z_q, scaling))
    assert all(z.isfinite().all() for z in scale(z_s + 0.1, z_q, scaling))


@pytest.mark.parametrize("mode", ["proto", "lr", "ridge", "lda", "knn", "svm"])
def test_on_the_unit_sphere_the_length_of_a_feature_vector_does_not_matter(mode, features):
    z_s, z_q = features
    y_s = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    lengths = torch.tensor([1.0, 10.0, 0.1, 3.0])[:, None]
    probe = adapter_with(mode, {"scaling": "l2"})
    assert torch.allclose(probe(z_s, y_s, z_q * lengths).logits, probe(z_s, y_s, z_q).logits, atol=1e-5)
    raw = adapter_with(mode, {"scaling": "raw"})
    assert not torch.allclose(raw(z_s, y_s, z_q * lengths).logits, raw(z_s, y_s, z_q).logits)
