"""The timing of features on a few generated images: what it records."""

import json

import pytest

from benchmarks.timing import features


@pytest.mark.full
def test_what_is_recorded(tmp_path):
    folder = tmp_path / "record"
    small = ["--case", "fractal_resnet8@32", "--n-images", "70", "--repetitions", "1", "--output", str(folder)]
    assert features.main(small) == 0
    (row,) = [json.loads(line) for line in (folder / "features.jsonl").read_text().splitlines()]
    assert row["case"] == "fractal_resnet8@32, 70 images"
    assert 0 < row["ratio, least"] <= row["ratio"] <= row["ratio, most"]
    assert 0 < row["gather, %"] + row["keep, %"] < 100
    assert set(row["seconds"]) == {"bare network", "batches", "features", "without check"}
    assert "| fractal_resnet8@32, 70 images |" in (folder / "README.md").read_text()
