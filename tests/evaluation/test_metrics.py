"""Metrics of answers against scikit-learn and plain loops; those of how scores order images are in test_ranking.py."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from reference.commands import results, run
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from fewshot_bn.config import FewShotConfig
from fewshot_bn.evaluation.metrics import (
    METRICS,
    Metric,
    accuracy,
    calibration_gaps,
    comparable,
    expected_calibration_error,
    macro_f1,
    mean_per_class,
    negative_log_likelihood,
)

NEW = Metric("new", ("episodes",), "new", accuracy, judges="predictions", draws="queries")  # nobody knows it yet


@pytest.mark.parametrize("always", [True, False])
def test_a_metric_is_one_entry_kept_pooled_and_shown(here, capsys, monkeypatch, always):
    monkeypatch.setitem(METRICS, "new", replace(NEW, always=always))
    assert run("--mode", "proto", "--output", "out") == 0
    assert ("new" in capsys.readouterr().out.splitlines()[0].split()) == always
    for result in results(here / "out").values():
        assert result.measures["new"] == pytest.approx(result.accuracies)
        assert result.pooled("new") == pytest.approx(np.mean(result.accuracies))
    assert run("--mode", "proto", "--output", "out", "--metric", "new") == 0
    header, _, lr, proto, *_ = capsys.readouterr().out.splitlines()
    assert "new ± 95 % CI" in header
    found = results(here / "out")
    assert f"{100 * found['lr', 2].accuracy.mean:.2f} ± " in lr
    assert f"{100 * found['proto', 2].difference_to(found['lr', 2]).mean:+.2f} ± " in proto


def test_the_help_names_every_metric_that_can_be_asked_for():
    (field,) = (field for field in fields(FewShotConfig) if field.name == "metrics")
    assert METRICS.keys() & set(re.findall(r"[\w-]+", field.metadata["text"])) == comparable().keys()


def test_results_from_before_a_metric_are_gone_on_with_and_do_not_know_it(here, capsys, monkeypatch):
    assert run("--mode", "proto", "--n-episodes", "4") == 0
    monkeypatch.setitem(METRICS, "new", replace(NEW, always=True))
    capsys.readouterr()
    assert run("--mode", "proto", "--n-episodes", "6") == 0
    assert "new" not in capsys.readouterr().out.splitlines()[0].split()
    for result in results(here / "results").values():
        assert result.measures["new"][:4] == (None,) * 4
        assert result.measures["new"][4:] == pytest.approx(result.accuracies[4:])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("n_way", [2, 5, 30])  # of 30 classes many have neither query nor prediction
def test_mean_per_class_and_f1_are_scikit_learns_also_of_absent_classes(fresh_seed, n_way):
    generator = torch.Generator().manual_seed(fresh_seed)
    y, guess = torch.randint(n_way, (2, 6, 25), generator=generator)
    predicted = torch.where(torch.rand(6, 25, generator=generator) < 0.6, y, guess)
    y[0][y[0] == 1] = 0
    y[1], predicted[2] = 1, 0
    expected = [balanced_accuracy_score(*pair) for pair in zip(y, predicted, strict=True)]
    assert mean_per_class(predicted, y).tolist() == pytest.approx(expected)
    expected = [f1_score(*pair, average="macro") for pair in zip(y, predicted, strict=True)]
    assert macro_f1(predicted, y).tolist() == pytest.approx(expected)


def test_queries_taken_for_nothing_have_neither_recall_nor_precision():
    y = torch.tensor([[0, 1, 2], [0, 0, 1]])
    predicted = torch.tensor([[-1, -1, -1], [0, 0, 1]])
    for metric in (accuracy, mean_per_class, macro_f1):
        assert metric(predicted, y).tolist() == [0, 1]
        assert metric(predicted[:1], y[:1]).tolist() == [0]


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


def test_losses_are_the_metrics_of_which_less_is_better():
    assert {name for name, metric in METRICS.items() if metric.lower_is_better} == {"nll", "calibration_error"}
