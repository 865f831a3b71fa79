import numpy as np
import pytest

from benchmarks.studies import rank_coverage as study


def test_scores_are_correlated_as_said():
    scores = np.concatenate([study.scores_of(50, number) for number in range(60)], axis=1)
    np.testing.assert_allclose(scores.mean(1), 0, atol=0.1)
    np.testing.assert_allclose(scores.std(1), 1, atol=0.05)
    assert np.corrcoef(scores)[0, 1:] == pytest.approx([0.9, 0.7], abs=0.03)


def test_means_are_off_by_the_standard_error():
    scores = study.scores_of(40, 0)
    task = study.task_of(scores, 0.1, 0)
    off = task.scores - scores
    assert np.std(off - off.mean()) == pytest.approx(0.1, rel=0.2)
    assert task.modes == ("reference", "close", "loose")


def test_the_table(capsys, monkeypatch):
    monkeypatch.setattr(study, "CASES", [(6, study.WITHOUT_NOISE), (8, 0.28)])
    monkeypatch.setattr(study, "N_SAMPLES", 100)
    assert study.main(["--sets", "3"]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines[2:]] == [
        ["6", "0", "0.9"],
        ["6", "0", "0.7"],
        ["8", "0.28", "0.9"],
        ["8", "0.28", "0.7"],
    ]
    assert all(0 <= int(cell.removesuffix(" %")) <= 100 for line in lines[2:] for cell in line[3:6])
    assert lines[2][4] == "100 %"  # without noise the order is the true one


def test_an_interval_that_is_unknown_is_an_error():
    with pytest.raises(ValueError, match="too few backbones"):
        study.held(2, study.WITHOUT_NOISE, 5)
