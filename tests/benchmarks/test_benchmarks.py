"""The scripts in benchmarks/ start and do what they say, on the smallest possible inputs."""

import json
import math
import re
from statistics import median

import cells
import parity
import probe_study
import probes
import pytest
import recipe_cost
import recipe_plan as plan
import recipe_report
import recipe_study
import run
import store
import torch
from reference.networks import small_backbone
from reference.places import ROOT, SHARED, needs_shared

from fewshot_bn.results.result import read_result


def test_a_suite_is_every_combination_of_its_lists():
    suite = {"dataset": "digits", "model": [["a"], ["b"]], "n-support": [1, 5], "seed": [[0], [1]]}
    found = list(run.commands(suite))
    assert len(found) == 4
    assert found[1] == ["--dataset", "digits", "--model", "a", "--n-support", "1", "5", "--seed", "1"]


def test_a_suite_runs_and_a_failing_run_does_not_stop_the_others(tmp_path, capsys):
    suite = tmp_path / "suite.toml"
    suite.write_text('n-way = [[11], [2]]\nmode = "proto"\nn-episodes = 2\n')
    assert run.main([str(suite), "--baseline", "none", "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert "n_way is 11, but there are only 10 classes" in printed.err
    assert printed.out.count("result: ") == 1


@pytest.mark.filterwarnings("ignore:(?i).*line search")
def test_parity(capsys):
    assert parity.main(["--n-episodes", "2", "--steps", "2", "--chunk", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["lr-c1", "bn float64", "bn float32"]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").rglob("*.json")), ids=lambda path: path.name)
def test_records_can_still_be_read(path):
    assert len(read_result(path)) > 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_record_of_the_probes(tmp_path, capsys):
    folder = tmp_path / "record"
    tiny = ["--n-episodes", "4", "--n-loop", "2", "--n-exact", "2", "--dim", "64", "--shots", "2", "--repetitions", "1"]
    assert probes.main([*tiny, "--device", "cpu", "--output", str(folder)]) == 0
    *rows, facts = [json.loads(line) for line in (folder / "probes.jsonl").read_text().splitlines()]
    by_name = {row["name"]: row for row in rows}
    assert {"scikit-learn loop", "lr-c1", "lr-c1, 45 values of C", "lr", "proto", "svm"} <= by_name.keys()
    loops = [by_name[name]["seconds"] for name in by_name if name.startswith("scikit-learn")]
    for row in rows:
        assert row["x best loop"] == pytest.approx(min(loops) / row["seconds"])
    assert facts["exactness"]["lr-c1"]["largest difference"] < 1e-4
    assert facts["exactness"]["lr-c1"]["same class"]
    assert capsys.readouterr().out.strip() in (folder / "README.md").read_text()
    assert str(tmp_path) not in (folder / "README.md").read_text()
    assert probes.main([*tiny, "--output", str(folder)]) == 2


def test_the_path_of_the_benchmark_ends_where_its_last_value_does():
    problem = probes.draw(2, 2, 32, torch.device("cpu"))
    found = probes.whole_path(problem)
    alone = probes.make_adapter("lr-c1", {"C": "1e6"})(problem.z_s, problem.y_s, problem.z_q).logits
    assert torch.allclose(found, alone, atol=0.05)


@needs_shared
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


def test_the_record_of_the_store(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "N_GATHERED", 6)
    tiny = ["--n-images", "40", "--n-many", "6", "--n-large", "2", "--n-scanned", "6", "--repetitions", "1"]
    folder, nowhere = tmp_path / "record", ["--data-root", str(tmp_path)]
    assert store.main([*tiny, *nowhere, "--output", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "store.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["building"] * 2 + ["gathering"] * 2 + ["memory"] * 2 + ["scanning"]
    assert all(row["store / bare loop"] > 0 for row in rows[:2])
    assert (rows[-1]["files"], rows[-1]["seconds"] > 0) == (6, True)
    assert "| 6 JPEG of 32 px |" in (folder / "README.md").read_text()
    printed = capsys.readouterr()
    assert printed.err.count("left out") == 8
    assert store.main([*tiny, "--output", str(folder)]) == 2


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
