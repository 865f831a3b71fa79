"""Calibration against scikit-learn and a plain loop."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from fewshot_bn.evaluation.metrics import calibration_gaps, expected_calibration_error, negative_log_likelihood


def predictions(seed, n_episodes=3, n_query=40, n_way=4):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(n_way, (n_episodes, n_query), generator=generator)
    logits = 2 * torch.randn(n_episodes, n_query, n_way, generator=generator) + torch.nn.functional.one_hot(y)
    return logits, y


def test_the_likelihood_is_scikit_learns(fresh_seed):
    logits, y = predictions(fresh_seed)
    found = negative_log_likelihood(logits, y)
    for e in range(3):
        p = logits[e].double().softmax(-1).numpy()
        assert float(found[e]) == pytest.approx(log_loss(y[e].numpy(), p, labels=range(4)))


def test_the_calibration_error_is_that_of_a_loop_over_bins(fresh_seed):
    logits, y = predictions(fresh_seed)
    p = logits.double().softmax(-1).numpy().reshape(-1, 4)
    probability, right = p.max(1), p.argmax(1) == y.flatten().numpy()
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (probability > low) & (probability <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - probability[inside].mean())
    gaps = calibration_gaps(logits, y)
    assert expected_calibration_error(gaps.tolist(), 40) == pytest.approx(expected)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    y = torch.tensor([[0, 1]])
    logits = 1e3 * torch.nn.functional.one_hot(y).double()
    assert expected_calibration_error(calibration_gaps(logits, y).tolist(), 2) == pytest.approx(0)
    assert expected_calibration_error(calibration_gaps(logits.flip(1), y).tolist(), 2) == pytest.approx(1)
    assert float(negative_log_likelihood(logits.flip(1), y)) == pytest.approx(1e3)


def test_equal_scores_are_the_logarithm_of_the_number_of_classes():
    logits, y = torch.zeros(1, 5, 4), torch.zeros(1, 5, dtype=torch.int64)
    assert float(negative_log_likelihood(logits, y)) == pytest.approx(np.log(4))
