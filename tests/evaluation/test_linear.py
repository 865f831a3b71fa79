"""Linear evaluation against scikit-learn, and splits."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score

from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.linear import LinearEvaluation, Samples, log_odds, score


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
    logits, converged = linear.fit(train + val, test, 0.3)
    expected = LogisticRegression(C=0.3, solver="newton-cg", tol=1e-10, max_iter=10_000)
    expected.fit(torch.cat([train.z, val.z]).double().numpy(), torch.cat([train.y, val.y]).numpy())
    assert converged
    np.testing.assert_allclose(logits.softmax(-1).numpy(), expected.predict_proba(test.z.double().numpy()), atol=1e-5)


def test_the_scores_are_scikit_learns(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    y = torch.cat([torch.arange(4), torch.randint(4, (56,), generator=generator)])
    logits = torch.randn(60, 4, generator=generator) + torch.nn.functional.one_hot(y)
    found, p = score(logits, y), logits.softmax(-1).numpy()
    assert found.values["top-1"] == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert found.values["mean-per-class"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    assert found.values["map"] == pytest.approx(average_precision_score(np.eye(4)[y], p, average="macro"))


def test_images_are_ranked_also_where_probabilities_are_all_one():
    logits = torch.tensor([[0.0, 900.0], [0.0, 800.0], [0.0, 850.0], [0.0, 820.0]])
    y = torch.tensor([0, 1, 0, 1])
    assert score(logits, y).values["map"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    small = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    p = small.softmax(-1)
    assert torch.allclose(log_odds(small), (p / (1 - p)).log())


def test_a_single_image_says_nothing_of_the_spread():
    found = score(torch.eye(3), torch.arange(3))
    assert set(found.half_widths) == {"top-1"}
    assert not score(torch.eye(3)[:1], torch.arange(1)).half_widths


def test_the_intervals_are_as_wide_as_the_scores_vary():
    """400 times 400 images of classes that are right with chances of 0.9, 0.5 and 0.7."""
    rng = np.random.default_rng(np.random.Philox(3))
    y = torch.from_numpy(np.repeat([0, 1, 2], [200, 120, 80]))
    found = []
    for _ in range(400):
        right = torch.from_numpy(rng.random(400) < np.repeat([0.9, 0.5, 0.7], [200, 120, 80]))
        logits = torch.nn.functional.one_hot(torch.where(right, y, (y + 1) % 3)).double()
        found.append(score(logits, y))
    for metric in ("top-1", "mean-per-class"):
        spread = np.std([one.values[metric] for one in found])
        assert np.mean([one.half_widths[metric] for one in found]) == pytest.approx(1.96 * spread, rel=0.15)


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
