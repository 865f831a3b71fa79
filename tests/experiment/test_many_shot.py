"""How a split is scored, against scikit-learn; the regime as a whole is tested in cli/test_many_shot.py."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score

from fewshot_bn.evaluation.many_shot.verdict import scores
from fewshot_bn.evaluation.ranking import log_odds
from fewshot_bn.experiment.tested import estimates


def test_the_scores_are_scikit_learns(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    y = torch.cat([torch.arange(4), torch.randint(4, (56,), generator=generator)])
    logits = torch.randn(60, 4, generator=generator) + torch.nn.functional.one_hot(y)
    found, p = scores(logits, y), logits.softmax(-1).numpy()
    assert found["top-1"] == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert found["mean-per-class"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    assert found["map"] == pytest.approx(average_precision_score(np.eye(4)[y], p, average="macro"))


def test_images_are_ranked_also_where_probabilities_are_all_one():
    logits = torch.tensor([[0.0, 900.0], [0.0, 800.0], [0.0, 850.0], [0.0, 820.0]])
    y = torch.tensor([0, 1, 0, 1])
    assert scores(logits, y)["map"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    small = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    p = small.softmax(-1)
    assert torch.allclose(log_odds(small), (p / (1 - p)).log())


def test_a_single_image_says_nothing_of_the_spread():
    found = estimates(torch.eye(3), torch.arange(3))
    assert set(found) == {"top-1"}
    assert not estimates(torch.eye(3)[:1], torch.arange(1))


def test_the_intervals_are_as_wide_as_the_scores_vary():
    """400 times 400 images of classes that are right with chances of 0.9, 0.5 and 0.7."""
    rng = np.random.default_rng(np.random.Philox(3))
    y = torch.from_numpy(np.repeat([0, 1, 2], [200, 120, 80]))
    found = []
    for _ in range(400):
        right = torch.from_numpy(rng.random(400) < np.repeat([0.9, 0.5, 0.7], [200, 120, 80]))
        logits = torch.nn.functional.one_hot(torch.where(right, y, (y + 1) % 3)).double()
        found.append((scores(logits, y), estimates(logits, y)))
    for metric in ("top-1", "mean-per-class"):
        spread = np.std([values[metric] for values, _ in found])
        assert all(intervals[metric].mean == pytest.approx(values[metric]) for values, intervals in found)
        assert np.mean([intervals[metric].half_width for _, intervals in found]) == pytest.approx(
            1.96 * spread, rel=0.15
        )
