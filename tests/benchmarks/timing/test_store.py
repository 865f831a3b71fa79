"""The timing of the store on a few generated images: what it records."""

import json
import sys

from reference.places import ROOT

from benchmarks.timing import store


def test_the_record_of_the_store(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "N_GATHERED", 6)
    monkeypatch.setattr(
        sys, "path", [*sys.path, str(ROOT)]
    )  # spawned processes find the script behind what is installed
    tiny = ["--n-images", "40", "--n-many", "6", "--n-large", "2", "--n-scanned", "6", "--repetitions", "1"]
    folder, nowhere = tmp_path / "record", ["--data-root", str(tmp_path)]
    assert store.main([*tiny, *nowhere, "--output", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "store.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["looking"] * 2 + ["building"] * 2 + ["gathering"] * 2 + ["memory"] * 2 + [
        "scanning"
    ]
    assert all(0 < row["share, %"] < 100 for row in rows[:2])
    assert all(row["store / bare loop"] > 0 for row in rows[2:4])
    assert (rows[-1]["files"], rows[-1]["seconds"] > 0) == (6, True)
    assert "| 6 JPEG of 32 px |" in (folder / "README.md").read_text()
    printed = capsys.readouterr()
    assert printed.err.count("left out") == 12
    assert store.main([*tiny, "--output", str(folder)]) == 2
