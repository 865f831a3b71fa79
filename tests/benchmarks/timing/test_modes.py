"""The timing of tuners on the smallest possible case: what it prints."""

import re

import pytest

from benchmarks.timing import modes
from fewshot_bn.evaluation import memory


def test_each_mode_is_compared_with_the_first(monkeypatch, capsys):
    monkeypatch.setitem(memory.MOST_EPISODES, "cpu", 1)
    case = ["--case", "fractal_resnet8@32", "--steps", "1", "--repetitions", "2"]
    assert modes.main(["--mode", "bn-plain", "lora", *case]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"fractal_resnet8@32  bn-plain, 1 at once: \S+ s/episode, 1.00 \(1.00 to 1.00\) x bn-plain", first
    )
    assert re.fullmatch(r"fractal_resnet8@32  lora, 1 at once: \S+ s/episode, \S+ \(\S+ to \S+\) x bn-plain", second)


def test_a_probe_has_no_steps(capsys):
    with pytest.raises(SystemExit):
        modes.main(["--mode", "lr"])
    assert "invalid choice: 'lr'" in capsys.readouterr().err
