import subprocess
import sys

import pytest

from fewshot_bn.__main__ import main


def test_no_verb_and_help_show_the_verbs(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        assert "eval    adapt a backbone" in capsys.readouterr().out


def test_an_unknown_verb_names_the_closest(capsys):
    assert main(["evla"]) == 2
    assert (
        capsys.readouterr().err
        == "error: unknown verb 'evla' (did you mean 'eval'?); choose from: eval, data, models, rank\n"
    )


def test_a_verb_gets_its_arguments(capsys):
    assert main(["eval", "--n-way", "0"]) == 2
    assert "--n-way: '0'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["-m", "fewshot_bn"], ["-m", "fewshot_bn", "eval"], ["-m", "fewshot_bn.eval"]])
def test_every_way_to_start(command):
    shown = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, check=True)
    assert "usage: " in shown.stdout
