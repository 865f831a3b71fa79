"""The scripts in benchmarks/ start and do what they say, on the smallest possible inputs."""

import json

import parity
import probe_study
import probes
import pytest
import run
import store
import torch
from conftest import ROOT, SHARED, needs_shared

from fewshot_bn.results import read_result


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
    monkeypatch.setattr(probe_study, "BACKBONES", {"resnet20": "resnet20-12fca82f.th"})
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
