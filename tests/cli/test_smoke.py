"""The command as users run it: a process of its own, in another folder, also killed in the middle.

The first test is the process test of the default tier. The others have siblings there, in this process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import torch
from reference.commands import answers, results, run

TINY = ["--n-way", "5", "--n-support", "5", "--mode", "proto", "bn", "--set", "bn.steps=10", "--chunk", "2"]


def command(*arguments):
    return [sys.executable, "-m", "fewshot_bn.eval", *TINY, *arguments]


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def episodes_in(folder, mode):
    try:
        return max((len(json.loads(p.read_text())["correct"]) for p in folder.glob(f"*_{mode}_*.json")), default=0)
    except FileNotFoundError:
        return 0


def test_the_embedded_default_runs_from_any_folder(tmp_path):
    done = subprocess.run(command("--n-episodes", "3"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "digits (1,797 images, 10 classes), fractal_resnet8" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:5]] == ["lr", "proto", "bn"]
    assert len(answers(tmp_path / "results")) == 3


@pytest.mark.full
def test_a_terminal_without_the_letters_and_a_reader_that_goes_away(tmp_path):
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    arguments = [sys.executable, "-m", "fewshot_bn.eval", "--mode", "proto", "--n-episodes", "2"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True, env=plain)
    assert "accuracy ? 95 % CI" in done.stdout
    process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    with process.stderr as errors:
        assert "Traceback" not in errors.read()
    assert process.wait() == 141


@pytest.mark.full
def test_a_clear_error_is_one_line_and_status_2(tmp_path):
    done = subprocess.run(command("--dataset", "eurosat"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("error: eurosat: no data found; looked in ")


@pytest.mark.nightly
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_stopped_in_the_middle_goes_on_to_the_identical_answer(tmp_path, stop):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    subprocess.run(command("--n-episodes", "40", "--output", str(whole)), check=True, capture_output=True)
    # another cache, so that nothing of the whole run helps the one that is stopped
    environment = {**os.environ, "FEWSHOT_BN_CACHE": str(tmp_path / "cache")}
    again = command("--n-episodes", "40", "--output", str(stopped))
    process = subprocess.Popen(again, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: episodes_in(stopped, "bn") >= 4, process)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert 4 <= episodes_in(stopped, "bn") < 40
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-1].endswith("the same command goes on from there")
        assert "Traceback" not in errors
    subprocess.run(again, check=True, capture_output=True, env=environment)
    assert answers(stopped) == answers(whole)


def test_what_a_killed_run_leaves_is_gone_on_with(here, monkeypatch):
    """Such a run leaves what is in the folder after one of its writes, here the second of three."""
    replace, written = Path.replace, []

    def replace_and_copy(path, target):
        found = replace(path, target)
        written.append(target)
        if written[-2:] == [target] * 2 and not (here / "left").exists():
            shutil.copytree(target.parent, here / "left")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_and_copy)
        assert run("--chunk", "2", "--baseline", "none") == 0
    assert [len(result) for result in results(here / "left").values()] == [4]
    assert run("--chunk", "2", "--baseline", "none", "--output", "left") == 0
    (result,) = results(here / "left").values()
    assert [(part.start, part.stop) for part in result.runs] == [(0, 4), (4, 6)]
    assert answers(here / "left") == answers(here / "results")


@pytest.mark.full
def test_other_threads_and_chunks_give_the_same_episodes_and_accuracies_up_to_a_tie(tmp_path):
    for folder, threads, chunk in (("a", "2", "2"), ("b", "1", "3")):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "FEWSHOT_BN_CACHE": str(tmp_path / f"cache-{folder}")}
        arguments = command("--n-episodes", "10", "--output", str(tmp_path / folder), "--chunk", chunk)
        subprocess.run(arguments, check=True, capture_output=True, env=environment)
    first, second = answers(tmp_path / "a"), answers(tmp_path / "b")
    assert first.keys() == second.keys()
    for name in first:
        assert first[name][3] == second[name][3]
        assert sum(abs(a - b) for a, b in zip(first[name][0], second[name][0], strict=True)) <= 1  # of 750 queries


def test_other_threads_give_the_same_episodes_and_accuracies_up_to_a_tie(here):
    found = {}
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        try:
            probe = ("--baseline", "proto", "--no-feature-cache")
            assert run("--mode", "bn", *probe, "--n-episodes", "2", "--output", str(n_threads)) == 0
        finally:
            torch.set_num_threads(1)
        found[n_threads] = answers(here / str(n_threads))
    for key, (correct, _, _, episodes) in found[1].items():
        assert found[2][key][3] == episodes
        assert sum(abs(a - b) for a, b in zip(correct, found[2][key][0], strict=True)) <= 1  # of 24 queries


@pytest.mark.full
def test_a_run_waits_while_another_writes_its_result_and_then_goes_on(tmp_path):
    arguments = command("--baseline", "none", "--mode", "bn", "--output", str(tmp_path))
    subprocess.run([*arguments, "--n-episodes", "2"], check=True, capture_output=True)
    (path,) = tmp_path.glob("*.json")
    with filelock.FileLock(tmp_path / f".{path.name}.lock"):
        second = subprocess.Popen([*arguments, "--n-episodes", "4"], stderr=subprocess.PIPE, text=True)
        assert any("note: another run is writing" in line for line in iter(second.stderr.readline, ""))
        assert episodes_in(tmp_path, "bn") == 2
    second.communicate(timeout=120)
    assert (second.returncode, episodes_in(tmp_path, "bn")) == (0, 4)
