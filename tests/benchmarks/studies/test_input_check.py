"""The study of the input check on a few images of digits and one backbone."""

import json

import pytest
from reference.places import SHARED, needs_shared

from benchmarks.studies import input_check


@pytest.mark.full
@needs_shared
def test_the_study_tells_right_from_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(input_check, "BACKBONES", {"fractal_resnet8": 32})
    monkeypatch.setattr(input_check, "DEVELOPMENT", ("digits",))
    monkeypatch.setattr(input_check, "TARGETS", ("eurosat",))
    folders = ["--data-dev", str(SHARED / "data-dev"), "--data", str(SHARED / "data"), "--weights", str(SHARED)]
    assert input_check.main([*folders, "--n-images", "64", "--output", str(tmp_path / "study")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "study" / "symptoms.jsonl").read_text().splitlines()]
    found = {(row["dataset"], row["contract"]): row["distance"] for row in rows}
    assert all(found[name, "right"] < 1 < found[name, "pixels in 0..255 instead"] for name in ("digits", "eurosat"))
    assert "| right | target |" in (tmp_path / "study" / "README.md").read_text()
