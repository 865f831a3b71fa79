"""A user's own adapter on the command line: it takes part in the table, and its code is part of what it is."""

from reference.commands import results, run

from fewshot_bn.adapters.own import adapter_of, origin_of

CODE = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from fewshot_bn import Fit

@dataclass(frozen=True)
class Mine:
    takes: ClassVar[str] = "features"
    transductive: ClassVar[bool] = False
    sharpness: float = 1.0

    def __call__(self, z_s, y_s, z_q):
        means = torch.stack([z_s[:, y_s[0] == k].mean(1) for k in range(int(y_s.max()) + 1)], 1)
        n = len(z_s)
        return Fit(-self.sharpness * torch.cdist(z_q, means) ** 2, torch.zeros(n, dtype=torch.int64), torch.ones(n) > 0)
"""


def test_it_answers_as_the_probe_that_it_is_and_keeps_its_settings(here, capsys):
    (here / "mine.py").write_text(CODE)
    assert run("--mode", "mine.py:Mine", "proto", "--set", "Mine.sharpness=2") == 0
    assert "Mine " in capsys.readouterr().out
    found = results(here / "results")
    assert found["Mine", 2].correct == found["proto", 2].correct
    assert found["Mine", 2].key["adapter"]["settings"] == {"sharpness": 2.0}
    assert len(found["Mine", 2].key["adapter"]["code"]) == 64
    assert "code" not in found["proto", 2].key["adapter"]


def test_it_may_be_the_baseline(here, capsys):
    (here / "mine.py").write_text(CODE)
    assert run("--mode", "proto", "--baseline", "mine.py:Mine") == 0
    assert "difference to Mine ± CI" in capsys.readouterr().out


def test_changed_code_is_another_result(here):
    for folder, code in (("a", CODE), ("b", CODE + "# changed\n")):
        (here / folder).mkdir()
        (here / folder / "mine.py").write_text(code)
        assert run("--mode", f"{folder}/mine.py:Mine", "--baseline", "none") == 0
    assert len(list((here / "results").glob("*_Mine_*.json"))) == 2


def test_what_is_wrong_is_one_line(here, capsys):
    (here / "mine.py").write_text(CODE)
    (here / "loose.py").write_text(CODE.replace("(frozen=True)", ""))
    for arguments, message in (
        (("--mode", "loose.py:Mine"), "error: Mine: its class is no frozen dataclass"),
        (("--mode", "mine.py:Yours"), "error: mine.py: unknown name 'Yours'"),
        (("--mode", "none.py:Mine"), "error: none.py:Mine: there is no file none.py"),
        (("--mode", "mine.py:Mine", "--set", "Mine.k=1"), "error: unknown setting of Mine 'k'"),
        (("--mode", "mine.py:Mine", "./mine.py:Mine"), "error: two of the modes have one name (lr, Mine, Mine)"),
    ):
        assert run(*arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(message), lines


def test_a_mode_is_none_of_the_users():
    name, adapter = adapter_of("proto")
    assert (name, origin_of(adapter)) == ("proto", {})
