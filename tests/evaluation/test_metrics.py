"""Calibration against scikit-learn and a plain loop."""

import numpy as np
import pytest
import torch
from reference.commands import results, run
from sklearn.metrics import log_loss

from fewshot_bn.evaluation.metrics import (
    METRICS,
    Metric,
    accuracy,
    calibration_gaps,
    expected_calibration_error,
    mean_per_class,
    negative_log_likelihood,
    percent,
)


@pytest.fixture
def balanced_accuracy(monkeypatch):
    """A metric that nobody knows yet, added as its one entry."""
    metric = Metric("balanced", "episodes", "balanced", mean_per_class, show=percent)
    monkeypatch.setitem(METRICS, "balanced_accuracy", metric)


def test_a_metric_is_one_entry_kept_pooled_and_shown(here, capsys, balanced_accuracy):
    assert run("--mode", "proto", "--output", "new") == 0
    assert "balanced" in capsys.readouterr().out.splitlines()[0]
    for result in results(here / "new").values():
        assert result.measures["balanced"] == pytest.approx(result.accuracies)  # as many queries of each class
        assert result.pooled("balanced_accuracy") == pytest.approx(np.mean(result.accuracies))


def test_results_from_before_a_metric_are_gone_on_with_and_do_not_know_it(here, capsys, monkeypatch):
    assert run("--mode", "proto", "--n-episodes", "4") == 0
    monkeypatch.setitem(METRICS, "new", Metric("new", "episodes", "new", accuracy))
    capsys.readouterr()
    assert run("--mode", "proto", "--n-episodes", "6") == 0
    assert "new" not in capsys.readouterr().out.splitlines()[0].split()
    for result in results(here / "results").values():
        assert result.measures["new"][:4] == (None,) * 4
        assert result.measures["new"][4:] == pytest.approx(result.accuracies[4:])


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


def test_where_episodes_differ_in_their_queries_each_counts_the_same_for_the_calibration_error(fresh_seed):
    """Against small episodes whose queries are repeated until all episodes have the same number."""
    logits, y = predictions(fresh_seed)
    counts = [40, 8, 20]
    parts = [(logits[e : e + 1, :n], y[e : e + 1, :n]) for e, n in enumerate(counts)]
    gaps = [calibration_gaps(*part)[0].tolist() for part in parts]
    repeated = [calibration_gaps(x.repeat(1, 40 // x.shape[1], 1), t.repeat(1, 40 // t.shape[1])) for x, t in parts]
    expected = expected_calibration_error(torch.cat(repeated).tolist(), 40)
    assert expected_calibration_error(gaps, counts) == pytest.approx(expected)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    y = torch.tensor([[0, 1]])
    logits = 1e3 * torch.nn.functional.one_hot(y).double()
    assert expected_calibration_error(calibration_gaps(logits, y).tolist(), 2) == pytest.approx(0)
    assert expected_calibration_error(calibration_gaps(logits.flip(1), y).tolist(), 2) == pytest.approx(1)
    assert float(negative_log_likelihood(logits.flip(1), y)) == pytest.approx(1e3)


def test_equal_scores_are_the_logarithm_of_the_number_of_classes():
    logits, y = torch.zeros(1, 5, 4), torch.zeros(1, 5, dtype=torch.int64)
    assert float(negative_log_likelihood(logits, y)) == pytest.approx(np.log(4))
