"""The comparison with the plain loops, on two episodes."""

import pytest

from benchmarks.timing import parity


@pytest.mark.filterwarnings("ignore:(?i).*line search")
def test_parity(capsys):
    assert parity.main(["--n-episodes", "2", "--steps", "2", "--chunk", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["lr-c1", "bn float64", "bn float32"]
