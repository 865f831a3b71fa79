"""The timing of the probes on small features: what it records, and what it compares."""

import json

import pytest
import torch

from benchmarks.timing import probes


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
    alone = probes.make_adapter("lr-c1", C=1e6)(problem.z_s, problem.y_s, problem.z_q).logits
    assert torch.allclose(found, alone, atol=0.05)
