"""What the record of a recipe study says, for made-up results, against numbers by hand."""

import math

import numpy as np
import pytest

from benchmarks.studies import recipe, report
from benchmarks.studies.findings import Findings, costs_of, findings_of
from benchmarks.studies.record import Run

STAGE = recipe.Stage("search", ("digits",), 0, (1, 2), 2, ())
CORRECT = {"lr": [30, 45], "proto": [15, 15], "bn": [60, 60], "start steps=2": [45, 60]}


def run(candidate, n_support, correct, *, stage="search", seconds=2.0, backbone="resnet20"):
    correct = np.array(correct, np.uint16)
    some = np.arange(len(correct)) > 0
    nll = np.zeros(len(correct), np.float32)
    where = stage, "digits", backbone, n_support, 0
    return Run(*where, candidate, "{}", "cpu", 75, 0.1, seconds, correct, nll, converged=some, finite=some)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(recipe, "BACKBONES", ("resnet20",))
    monkeypatch.setattr(recipe, "PROBES", ("lr", "proto"))
    monkeypatch.setattr(recipe, "CANDIDATES", ("lr", "proto", "bn", "start steps=2", "bn-plain"))


def test_differences_and_intervals(small):
    found = Findings([run(name, k, n[:: 3 - 2 * k]) for name, n in CORRECT.items() for k in (1, 2)], STAGE)
    assert found.complete == ["lr", "proto", "bn", "start steps=2"]
    assert found.best_probes == {1: "lr", 2: "lr"}
    mean = found.mean_difference("bn", (1, 2))  # 0.4, 0.2 in one cell and 0.2, 0.4 in the other: no spread of means
    assert (mean.mean, mean.half_width) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12))
    assert found.mean_difference("start steps=2", (1, 2)).mean == pytest.approx(0.2)
    assert found.mean_difference("bn", [1]).half_width == pytest.approx(12.706 * 0.1, rel=1e-4)
    assert found.mean_difference("bn", [1], to="proto").mean == pytest.approx(0.6)
    p = 1 - 2 * math.atan(3) / math.pi  # Student's t of 3 with one degree of freedom; two tests
    assert found.p_values("bn") == pytest.approx([2 * p, 2 * p])
    assert math.isnan(found.cost("bn"))
    assert found.not_finite("bn") == 2
    with_plain = Findings([*found.record, *(run("bn-plain", k, [40, 40], seconds=8.0) for k in (1, 2))], STAGE)
    assert with_plain.cost("bn") == 0.25


def test_only_what_is_complete_is_reported(small):
    runs = [run(name, k, n) for name, n in CORRECT.items() for k in (1, 2) if (name, k) != ("lr", 2)]
    short = [run("bn-plain", 1, [40]), run("bn-plain", 2, [40, 40], stage="looks")]
    probes_only = [run(name, 4, CORRECT[name]) for name in ("lr", "proto")]
    shots = recipe.Stage("search", ("digits",), 0, (1, 2, 4), 2, ())
    other = recipe.Stage("final", ("digits",), 0, (1,), 2, ())
    (found,) = findings_of([*runs, *short, *probes_only], shots, other)
    assert found.stage.shots == (1, 2)
    assert found.complete == ["proto", "bn", "start steps=2"]


def test_costs_are_medians_of_the_repetitions(small, monkeypatch):
    monkeypatch.setattr(recipe, "DRAWN", ("lr", "bn-plain"))
    seconds = {"lr": (0.5, 0.1, 0.2), "bn-plain": (4.0, 5.0, 3.0)}
    runs = [
        run(name, 1, [], stage=f"cost {k}", seconds=s) for name, times in seconds.items() for k, s in enumerate(times)
    ]
    costs = costs_of([*runs, run("lr", 1, [3])])
    assert costs == {"cpu": {("resnet20", 1, "lr"): 0.2, ("resnet20", 1, "bn-plain"): 4.0}}
    assert [*report.cost_table(costs["cpu"])][2:] == ["| `lr` | 0.05 |", "| `bn-plain` | 1 |", "| `bn-plain`, s | 4 |"]
