"""Records of studies: what is written is read back, and the reports of the kept ones are made anew from them."""

import json

import numpy as np
import pytest
from reference.places import ROOT

from benchmarks.studies import probes, record, report
from benchmarks.studies.experiments import adapter_of, carry_out
from fewshot_bn.config import FewShotConfig
from fewshot_bn.results.reading import read_result

RESULTS = ROOT / "benchmarks" / "results"
CANDIDATES = ("proto", "start steps=0 readout=ridge")


def config(folder, **more):
    modes = {name: adapter_of(name) for name in CANDIDATES}
    small = {"n_support": (1, 2), "n_episodes": 3, "device": "cpu"}
    return FewShotConfig(modes=modes, baseline=None, output=folder, **small, **more)


def test_the_record_of_result_files(tmp_path, capsys):
    runs = carry_out([config(tmp_path / "search", seed=4)], tmp_path)
    assert "proto 1-shot: digits_fractal-resnet8_proto" in capsys.readouterr().out
    assert [(run.candidate, run.n_support) for run in runs] == [(name, k) for name in CANDIDATES for k in (1, 2)]
    for run, path in zip(runs, sorted((tmp_path / "search").glob("*.json")), strict=True):
        result = read_result(path)
        assert (run.stage, run.dataset, run.backbone, run.seed) == ("search", "digits", "fractal_resnet8", 4)
        assert run.accuracies == result.accuracies
        assert json.loads(run.settings) == result.key["adapter"]["settings"]
        assert run.nll == pytest.approx(result.measures["nll"])
        assert run.ece == result.pooled("calibration_error")
        assert (run.seconds, run.device) == (result.seconds_per_episode, result.runs[0].device)
        assert run.converged.all()
        assert run.finite.all()


def test_a_study_goes_on_where_it_stopped(tmp_path):
    first = carry_out([config(tmp_path / "search")], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "search").glob("*.json")}
    both = carry_out([config(tmp_path / stage) for stage in ("search", "final")], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [run.stage for run in both] == ["final"] * 4 + ["search"] * 4
    assert [run.accuracies for run in both[4:]] == [run.accuracies for run in first]


def test_an_error_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        carry_out([config(tmp_path, n_way=11)], tmp_path)
    assert capsys.readouterr().err == "error: n_way is 11, but there are only 10 classes; lower --n-way\n"


def test_what_is_written_is_read_back(tmp_path, rng):
    def run(candidate, n):
        correct, nll = rng.integers(0, 700, n), rng.random(n).astype(np.float32)
        flags = rng.random((2, n)) < 0.5
        return record.Run("a", "b", "c", 1, 0, candidate, "{}", "cpu", 75, 0.125, 0.25, correct, nll, *flags)

    runs = [run("proto", 3), run("bn steps=1", 0), run("lr", 2)]
    record.write(tmp_path / "record.npz", runs)
    for found, expected in zip(record.read(tmp_path / "record.npz"), runs, strict=True):
        for name in record.Run.__annotations__:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_the_table_of_the_kept_probe_study_is_what_is_made_of_its_record():
    folder = RESULTS / "2026-11-25-probe-study"
    text = "\n".join([*probes.tables(record.read(folder / record.NAME)), ""])
    assert (folder / "README.md").read_text(encoding="utf-8").endswith(text)
    assert text.count("| `cosine` |") == 3


def test_the_report_of_the_kept_recipe_study_is_what_is_made_of_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *arguments: None)
    folder = RESULTS / "2026-11-26-recipe-study"
    for name in (record.NAME, "log.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert report.main([str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_bytes() == (folder / "README.md").read_bytes()
