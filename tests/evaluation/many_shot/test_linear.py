"""Linear evaluation against scikit-learn, and splits."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.samples import Samples


def samples(n, d, n_way, seed):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n_way, d, generator=torch.Generator().manual_seed(5))
    y = torch.cat([torch.arange(n_way), torch.randint(n_way, (n - n_way,), generator=generator)])
    return Samples(means[y] + 2 * torch.randn(n, d, generator=generator), y, n_way)


@pytest.mark.filterwarnings("ignore:(?i).*line search")
@pytest.mark.parametrize(("n", "d", "n_way"), [(120, 7, 4), (30, 60, 3), (50, 8, 2)])
def test_every_fit_is_scikit_learns(n, d, n_way, fresh_seed):
    train, val, test = (samples(m, d, n_way, fresh_seed + i) for i, m in enumerate((n, 20, 30)))
    linear = LinearEvaluation(n_values=5, C_min=1e-3, C_max=10.0, tolerance=1e-6)
    assert linear.grid == pytest.approx([1e-3, 1e-2, 0.1, 1, 10])
    for C, logits, converged in linear.sweep(train, val):
        expected = LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=10_000)
        expected.fit(train.z.double().numpy(), train.y.numpy())
        assert converged
        np.testing.assert_allclose(
            logits.softmax(-1).numpy(), expected.predict_proba(val.z.double().numpy()), atol=1e-5
        )
    (logits,), converged = linear.fit(train + val, [test.z], 0.3)
    expected = LogisticRegression(C=0.3, solver="newton-cg", tol=1e-10, max_iter=10_000)
    expected.fit(torch.cat([train.z, val.z]).double().numpy(), torch.cat([train.y, val.y]).numpy())
    assert converged
    np.testing.assert_allclose(logits.softmax(-1).numpy(), expected.predict_proba(test.z.double().numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"C_min": 2.0, "C_max": 1.0}, "45 values of C from 2.0 to 1.0 are no grid"),
        ({"n_values": 1}, "1 values of C from 1e-05 to 1000000.0 are no grid"),
        ({"n_values": 0}, "n_values is 0"),
        ({"n_values": 10**12}, "n_values is 1000000000000; it must be at most 10,000"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UsageError, match=message):
        LinearEvaluation(**settings)
