"""What becomes of a verb: its status, one line for an error, and output that nobody reads or that lacks letters."""

import io
import os
import sys

import pytest

from fewshot_bn.cli.options import run_verb
from fewshot_bn.errors import UsageError


def say(text):
    sys.stdout.write(f"{text}\n")
    return 0


def fail(problem):
    raise problem


def test_a_terminal_that_lacks_a_letter_shows_another(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run_verb(lambda: say("50 ± 1")) == 0
    assert terminal.buffer.getvalue().decode().strip() == "50 ? 1"


def test_a_reader_that_goes_away_is_no_error(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert run_verb(lambda: say("a table")) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("problem", "status", "line"),
    [
        (UsageError("two\nlines"), 2, "error: two lines"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "stopped; what is kept is not computed again"),
        (KeyboardInterrupt("stopped: 3 of 4"), 130, "stopped: 3 of 4"),
    ],
)
def test_what_stops_a_verb_is_one_line(capsys, problem, status, line):
    assert run_verb(lambda: fail(problem)) == status
    assert capsys.readouterr() == ("", f"{line}\n")
