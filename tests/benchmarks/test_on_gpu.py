"""The script for a machine with a GPU, with a stub for python and short limits: what fails or is slow loses nothing."""

import os
import subprocess

import pytest
from reference.places import ROOT

PYTHON = """#!/bin/bash
echo "part: $*"
case "$*" in
    *"-m pytest"*"-m gpu"*) exit 1 ;;
    *bfloat16*) echo "table so far"; sleep 60 ;;
esac
echo "whole part"
"""
TIMEOUT = """#!/bin/bash
case "$1 $2" in --kill-after=5\\ [0-9]*) ;; *) exit 99 ;; esac
echo "$2" >> "$LIMITS"
shift 2
exec /usr/bin/timeout 2 "$@"
"""


@pytest.fixture
def on_gpu(tmp_path):
    """Calls the script, whose parts are stubs; those that end are quick, and others are cut after two seconds."""
    for name, text in (("python", PYTHON), ("timeout", TIMEOUT)):
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(text)
        stub.chmod(0o755)
    changed = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "OUT": str(tmp_path / "out"),
        "LIMITS": str(tmp_path / "limits"),
    }
    command = ["/bin/bash", str(ROOT / "benchmarks" / "on_gpu.sh")]
    return lambda: subprocess.run(command, env=os.environ | changed, capture_output=True, text=True, check=False)


def test_a_part_that_fails_or_is_slow_does_not_lose_the_others(tmp_path, on_gpu):
    ran = on_gpu()
    assert ran.returncode == 1
    readme = (tmp_path / "out" / "README.md").read_text()
    rows = [line.split(" | ") for line in readme.splitlines() if " | python -m " in line]
    names = ["tests", "speed-resnet50", "speed-resnet50-bfloat16", "speed-mobilenet", "probes"]
    assert [row[0].removeprefix("| ") for row in rows] == names
    assert [row[1] for row in rows] == ["1", "0", "124", "0", "0"]
    assert "-m benchmarks.timing.speed --device cuda --repetitions 2 --case resnet50@224" in rows[1][3]
    assert "--output FOLDER/probes" in rows[4][3]
    found = {name: (tmp_path / "out" / f"{name}.txt").read_text().splitlines()[1:] for name in names}
    whole = ["whole part"]
    assert found == {**dict.fromkeys(names, whole), "tests": [], "speed-resnet50-bfloat16": ["table so far"]}
    assert ran.stdout == readme
    limits = [int(line) for line in (tmp_path / "limits").read_text().splitlines()]
    assert sum(limits) <= 8 * 60


def test_a_record_is_not_overwritten(tmp_path, on_gpu):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("a record")
    ran = on_gpu()
    assert ran.returncode == 2
    assert "holds a record already" in ran.stderr
    assert (tmp_path / "out" / "README.md").read_text() == "a record"
    assert not (tmp_path / "limits").exists()
