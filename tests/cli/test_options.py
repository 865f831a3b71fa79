"""What becomes of a verb: its status, one line for an error, and output that nobody reads or that lacks letters."""

import io
import os
import re
import sys

import pytest

from fewshot_bn.cli.options import run_verb
from fewshot_bn.errors import UsageError
from fewshot_bn.eval import main


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


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_streams_that_are_closed_are_no_error(monkeypatch, closed):
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    assert run_verb(lambda: say("a table")) == 0
    assert run_verb(lambda: fail(UsageError("wrong"))) == 2
    for name in closed:
        getattr(sys, name).close()


KEPT = "what is kept is not computed again"
OUT_OF_MEMORY = f"out of memory; take smaller images (--image-size) or a smaller network, or free some; {KEPT}"
NO_THREAD = f"no thread can be started; raise the limit on processes (ulimit -u, or that of the container); {KEPT}"


@pytest.mark.parametrize(
    ("problem", "status", "line"),
    [
        (UsageError("two\nlines"), 2, "error: two lines"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (MemoryError(), 2, f"error: {OUT_OF_MEMORY}"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), 2, f"error: {OUT_OF_MEMORY}"),
        (RuntimeError("can't start new thread"), 2, f"error: {NO_THREAD}"),
        (KeyboardInterrupt(), 130, "stopped; what is kept is not computed again"),
        (KeyboardInterrupt("stopped: 3 of 4"), 130, "stopped: 3 of 4"),
    ],
)
def test_what_stops_a_verb_is_one_line(capsys, problem, status, line):
    assert run_verb(lambda: fail(problem)) == status
    assert capsys.readouterr() == ("", f"{line}\n")


def test_other_faults_are_not_hidden():
    with pytest.raises(RuntimeError, match="a fault"):
        run_verb(lambda: fail(RuntimeError("a fault")))


def test_a_folder_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_verb(lambda: 0) == 2
    assert capsys.readouterr().err == "error: the current folder is gone; change to one that is there\n"


@pytest.mark.parametrize("flag", ["--shard", "--weights", "--baseline", "--dataset", "--output", "--set"])
@pytest.mark.parametrize("given", ["{}=", "{}= ", "{}=--", "{}|"])
def test_an_empty_variable_of_the_shell_does_not_run_everything(flag, given, capsys):
    assert main(given.format(flag).split("|")) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(rf"error: .*{flag}.*leave it out.*", said.err.strip())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--image-size", "1" * 30],
        ["--n-episodes", "9" * 5000],
        ["--mode", "x" * 9000],
        ["--set", "lr.max_steps=" + "9" * 21],
    ],
)
def test_a_value_that_is_too_large_is_one_short_line(arguments, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 900
