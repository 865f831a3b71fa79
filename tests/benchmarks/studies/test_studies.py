"""Studies."""

import json
import math
import re
from statistics import median

import pytest
import torch
from reference.networks import small_backbone
from reference.places import SHARED, needs_shared

from benchmarks.studies import cells, plan
from benchmarks.studies import cost as recipe_cost
from benchmarks.studies import probes as probe_study
from benchmarks.studies import recipe as recipe_study
from benchmarks.studies import report as recipe_report


@needs_shared
@pytest.mark.full
def test_the_probe_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(probe_study, "DATASETS", ("digits",))
    monkeypatch.setattr(probe_study, "BACKBONES", ("resnet20",))
    monkeypatch.setattr(probe_study, "SHOTS", (1,))
    names = [probe_study.REFERENCE, "proto scaling=raw", "ridge scaling=l2"]
    arguments = ["--data", str(SHARED / "data-dev"), "--weights", str(SHARED / "weights"), "--n-episodes", "3"]
    arguments += ["--output", str(tmp_path / "study")]
    for n in (2, 3):
        monkeypatch.setattr(probe_study, "candidates", lambda n=n: iter(names[:n]))
        assert probe_study.main(arguments) == 0
    rows = [json.loads(line) for line in (tmp_path / "study" / "study.jsonl").read_text().splitlines()]
    assert [row["candidate"] for row in rows] == names
    table = (tmp_path / "study" / "README.md").read_text()
    assert all(f"| `{name}` |" in table for name in names)
    assert f"| `{names[0]}` | +0.00 ± 0.00 |" in table


@pytest.fixture
def small_study(monkeypatch):
    """Digits and targets that are digits too, one backbone, the cheapest recipes."""
    small = {
        "BACKBONES": ("resnet20",),
        "PROBES": ("lr", "proto"),
        "PUBLISHED": ("bn23 epochs=1",),
        "UNTUNED": ("start steps=0",),
        "RECIPES": ("start", "start steps=2", "bn-plain", "start steps=0"),
        "FINALISTS": ("start", "start steps=2"),
        "DRAWN": ("lr", "bn-plain", "bn23 epochs=1", "bn"),
    }
    stages = {"SEARCH": (0, 2), "FINAL": (0, 2), "CONFIRMATION": (1, 3), "TARGET": (1, 3)}
    small |= {k: plan.Stage(k.lower(), ("digits",), seed, (1, 2), n) for k, (seed, n) in stages.items()}
    small["PUBLISHED_TARGETS"] = (plan.Stage("published", ("digits",), 1, (2,), 2),)
    for name, value in small.items():
        monkeypatch.setattr(plan, name, value)
    monkeypatch.setattr(recipe_cost, "DATASET", "digits")


@pytest.mark.parametrize("views", ["none", "centre", "flip,centre"])
@pytest.mark.parametrize("n_support", [1, 3])
def test_a_probe_over_views_on_features_computed_once(views, n_support):
    """Against norm tuning with steps=0, which computes them anew in every episode."""
    backbone = small_backbone()
    generator = torch.Generator().manual_seed(5)
    x_s, x_q = (torch.randn(2, n, 3, 16, 16, generator=generator) for n in (3 * n_support, 6))
    y_s = torch.arange(3).repeat(2, n_support)
    adapter = cells.adapter_of(f"start steps=0 readout=lr+ridge test_augment={views}")
    assert cells.is_frozen(adapter)
    assert not cells.is_frozen(cells.adapter_of("start"))
    once = cells.over_views(backbone, views)
    z_s, z_q = (once.features(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (x_s, x_q))
    assert z_q.shape[2] == once.dim
    found, expected = cells.FrozenViews(adapter)(z_s, y_s, z_q), adapter(backbone, x_s, y_s, x_q)
    assert torch.allclose(found.logits, expected.logits, atol=1e-4)
    assert torch.equal(found.converged, expected.converged)


@needs_shared
@pytest.mark.full
def test_the_recipe_study_goes_on_where_it_stopped_and_is_reported(tmp_path, monkeypatch, small_study):
    arguments = ["--data", str(SHARED / "data-dev"), "--weights", str(SHARED / "weights"), "--device", "cpu"]
    arguments += ["--output", str(tmp_path)]

    def study(part):
        assert recipe_study.main([part, *arguments]) == 0

    calls = []
    try_out = recipe_study.try_out

    def interrupted(candidate, *arguments):
        calls.append(candidate)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return try_out(candidate, *arguments)

    monkeypatch.setattr(recipe_study, "try_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study("search")
    cell = tmp_path / "development-seed0" / "digits_resnet20_2shot.jsonl"
    cell.write_text(cell.read_text() + '{"candidate": "bn", "cor')  # a line that was being written
    study("search")
    rows = [json.loads(line) for line in cell.read_text().splitlines()]
    assert sorted((row["candidate"], row["start"]) for row in rows[:2]) == [("lr", 0), ("proto", 0)]
    assert len({(row["candidate"], row["start"]) for row in rows}) == len(rows)
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[17:].split(":")[0] for line in log] == ["search"] * 3 + ["final"] * 3
    study("confirm")
    study("targets")
    n_calls = len(calls)
    for part in recipe_study.PARTS:
        study(part)
    assert len(calls) == n_calls
    assert recipe_report.main([str(tmp_path)]) == 0
    assert not list(tmp_path.glob("*.png"))  # the costs are still unknown
    assert recipe_cost.main([*arguments, "--shots", "1", "2", "--repetitions", "2"]) == 0
    seconds = [json.loads(line) for line in (tmp_path / "cost.jsonl").read_text().splitlines()]
    assert len(seconds) == 2 * 2 * len(plan.DRAWN)
    assert recipe_report.main([str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    for title in ("Search: digits", "Final: digits", "Confirmation: digits", "Target: digits", "Published: digits"):
        assert f"\n## {title}" in text
    plain = median(line["seconds"] for line in seconds if (line["candidate"], line["shots"]) == ("bn-plain", 2))
    assert "\n## Cost, in times of `bn-plain`:" in text
    assert re.search(rf"^\| `bn-plain`, s \| \S+ \| {plain:.2g} \|$", text, re.MULTILINE)
    assert str(tmp_path) not in text
    for name in ("confirmation", "targets"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_the_next_best_and_the_intervals_of_the_recipe_study(tmp_path, small_study, monkeypatch):
    """Made-up results, against numbers by hand."""
    stage = plan.SEARCH
    correct = {"lr": [30, 45], "proto": [15, 15], "bn": [60, 60], "start steps=2": [45, 60]}
    for cell in stage.cells():
        path = recipe_study.file_of(tmp_path, stage, cell)
        path.parent.mkdir(exist_ok=True)
        lines = [
            {"candidate": name, "start": 0, "settings": recipe_study.settings_of(recipe_study.adapter_of(name))}
            | {"correct": n if cell.n_support == 1 else n[::-1], "seconds": 4.0, "not_finite": 1}
            for name, n in correct.items()
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = recipe_report.Findings(tmp_path, stage)
    assert found.complete == ["lr", "proto", "bn", "start steps=2"]
    assert recipe_study.best_probe(found.accuracies, 1) == "lr"
    ranked = recipe_study.ranking(tmp_path, stage, ("bn", "start steps=2"))
    assert ranked == [(pytest.approx(0.3), "bn"), (pytest.approx(0.2), "start steps=2")]
    mean = found.mean_difference("bn", (1, 2))  # 0.4, 0.2 in one cell and 0.2, 0.4 in the other: no spread of means
    assert (mean.mean, mean.half_width) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12))
    assert found.mean_difference("bn", [1]).half_width == pytest.approx(12.706 * 0.1, rel=1e-4)
    assert found.seconds("bn", next(iter(found.accuracies))) == 2.0
    assert math.isnan(found.cost("bn"))
    assert found.total("bn", "not_finite") == 2


def test_holm_corrects_for_the_number_of_tests():
    assert recipe_report.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert recipe_report.holm([0.9, 0.8]) == [1, 1]
