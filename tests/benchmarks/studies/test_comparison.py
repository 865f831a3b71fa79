"""The comparison of modes with `bn`, for made-up results, against numbers by hand."""

import json

import numpy as np
import pytest

from benchmarks.studies import comparison
from benchmarks.studies.recipe import Cell
from benchmarks.studies.record import NAME, Run, write
from fewshot_bn.adapters import ADAPTERS, settings_of


def run(
    mode, correct, *, dataset="gtsrb", backbone="resnet20", n_support=5, stage="confirmation", seconds=2.0, **other
):
    correct = np.array(correct, np.uint16)
    settings = json.dumps({**settings_of(ADAPTERS[mode]), **other})
    good, nll = np.ones(len(correct), bool), np.zeros(len(correct), np.float32)
    where = stage, dataset, backbone, n_support, 1
    return Run(*where, mode, settings, "cpu", 75, 0.1, seconds, correct, nll, converged=good, finite=good)


def test_runs_of_other_settings_do_not_count():
    found = comparison.modes_of([run("bn", [30]), run("ft", [30]), run("lr", [30], C=3.0)], "confirmation")
    assert list(found) == ["bn", "ft"]
    assert not comparison.modes_of([run("bn", [30])], "targets")


def test_differences_are_those_of_the_episodes_and_cells_that_both_have():
    record = [run("bn", [30, 45, 60]), run("ft", [45, 45]), run("ft", [0, 0], backbone="mobilenet_v2_035")]
    modes = comparison.modes_of(record, "confirmation")
    (values,) = comparison.differences(modes, "ft").values()
    assert values == pytest.approx([0.2, 0.0])
    assert list(comparison.differences(modes, "ft")) == [Cell("gtsrb", "resnet20", 5)]
    assert not comparison.differences(comparison.within(modes, 1), "ft")
    assert not comparison.differences(comparison.within(modes, 5, "mobilenet_v2_035"), "ft")


def test_the_report(tmp_path, monkeypatch):
    others = [run("bn", [30, 45, 60], dataset=name) for name in ("gtsrb", "plankton")]
    write(tmp_path / "recipe.npz", [*others, run("lr", [15, 30, 45])])
    monkeypatch.setattr(comparison, "OF_RECIPE", tmp_path / "recipe.npz")
    ours = [run("ft", [45, 45], dataset="gtsrb"), run("ft", [45, 60, 75], dataset="plankton")]
    costs = [run(mode, [1], stage="cost 1", seconds=s) for mode, s in (("bn", 2.0), ("ft", 5.0))]
    write(tmp_path / NAME, [*ours, *costs])
    assert comparison.main([str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| `ft` | 2 | 2 | +15.00 ± " in text
    assert " | +10.00 | " in text  # the worst cell
    assert text.count("| - | 2.5 |") == 1  # times the time of bn, under ResNet-20 alone
    assert "| plankton | resnet20 | 5 | 60.00 | +20.00 ± 0.00 |" in text
    assert (tmp_path / "modes.png").stat().st_size > 5_000
