"""Chunks between two writings of a result file: kept by a process that is killed, left out where they do not fit."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.results import files
from fewshot_bn.results.files import open_result
from fewshot_bn.results.journal import journal_of
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Run

KEY = {
    "dataset": {"name": "my data"},
    "backbone": {"name": "net"},
    "adapter": {"name": "bn"},
    "shape": {"n_way": 2, "n_support": 1, "n_query": 1},
    "seed": 3,
}
CORRECT = np.random.default_rng(0).integers(0, 3, 200).tolist()
TAKEN_FOR = {0: [1, 0], 1: [0, 0], 2: [0, 1]}


WHOLE = sample([9] * 6, EpisodeShape(2, 1, 1), seed=3, n_episodes=200)


def first(n):
    return WHOLE[:n]


def add(file, begin, n):
    """One chunk for each of `n` episodes, by one process."""
    for place in range(begin, begin + n):
        correct = CORRECT[place]
        measures = {"nll": (place / 8,), "gaps": ((0.5, -0.25),), "predicted": (TAKEN_FOR[correct],)}
        outcome = Outcome((correct,), (True,), (place,), 1.0, measures)
        file.add(outcome, Run(begin, place + 1, 1.0 + place, "cpu", {"torch": "1"}))


@pytest.fixture
def killed(tmp_path):
    """A folder as a process leaves it that is killed after 100 episodes, 97 of which are in the file."""
    made = tmp_path / "made"
    made.mkdir()
    with open_result(made, KEY, first) as file:
        add(file, 0, 100)
        shutil.copytree(made, tmp_path / "killed")
    return tmp_path / "killed" / file.path.name


def test_a_process_that_is_killed_loses_nothing_that_was_added(killed, tmp_path):
    assert len(read_result(killed)) == 97
    with open_result(killed.parent, KEY, first) as file:
        assert len(file.result) == 100
        add(file, 100, 50)
    (tmp_path / "whole").mkdir()
    with open_result(tmp_path / "whole", KEY, first) as whole:
        add(whole, 0, 150)
    found, expected = read_result(killed), read_result(whole.path)
    assert replace(found, runs=()) == replace(expected, runs=())
    assert [(run.start, run.stop) for run in found.runs] == [(0, 100), (100, 150)]
    assert not journal_of(killed).exists()


@pytest.mark.parametrize(
    ("damage", "n_kept"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-9]], 99),
        (lambda lines: [*lines[:-1], lines[-1].rstrip("\n")], 99),
        (lambda lines: lines[1:], 97),
        (lambda lines: [*lines, lines[0]], 100),
        (lambda lines: ["[" * 100_000 + "\n", *lines], 97),
        (lambda lines: ["{}\n", *lines], 97),
        (lambda lines: [lines[0].replace('"rows":"', '"rows":"0'), *lines[1:]], 97),
        (lambda lines: [lines[0].replace('"converged":[true]', '"converged":[3]'), *lines[1:]], 97),
        (lambda lines: [lines[0].replace('"nll":[', '"nll":[1'), *lines[1:]], 97),
        (lambda lines: [lines[0], lines[1].replace('"steps":[', '"steps":[1'), lines[2]], 98),
        (lambda lines: [lines[0].replace('"stop":', '"stop":1'), *lines[1:]], 97),
        (lambda lines: [lines[0].replace('"predicted":[[', '"predicted":[[1,'), *lines[1:]], 97),
    ],
)
def test_what_does_not_follow_is_left_out(killed, damage, n_kept):
    journal = journal_of(killed)
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_text("".join(damage(lines)))
    with open_result(killed.parent, KEY, first) as file:
        kept = len(file.result)
    assert kept == n_kept
    assert read_result(killed).correct == tuple(CORRECT[:kept])


def test_a_journal_of_a_file_that_is_gone_is_left_out(killed):
    killed.unlink()
    with open_result(killed.parent, KEY, first) as file:
        assert len(file.result) == 0
        add(file, 0, 1)
    assert len(read_result(killed)) == 1
    assert not journal_of(killed).exists()


def test_a_pipe_in_its_place_is_not_waited_for(killed):
    journal_of(killed).unlink()
    os.mkfifo(journal_of(killed))
    with open_result(killed.parent, KEY, first) as file:
        assert len(file.result) == 97


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError])
def test_whatever_ends_the_work_the_file_is_whole(tmp_path, problem):
    def stopped():
        with open_result(tmp_path, KEY, first) as file:
            add(file, 0, 50)
            raise problem

    with pytest.raises(problem):
        stopped()
    (path,) = tmp_path.glob("*.json")
    assert len(read_result(path)) == 50
    assert not journal_of(path).exists()


def test_what_is_written_grows_with_the_episodes_not_with_their_square(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WRITE_S", 1e9)
    written = []
    write = files.write_json
    monkeypatch.setattr(files, "write_json", lambda path, content: written.append(content) or write(path, content))
    with open_result(tmp_path, KEY, first) as file:
        add(file, 0, 200)
    assert len(written) < 75  # not 200: 20 one by one, then as often as 1.05^k fits into 10
    assert len(json.loads(file.path.read_text())["correct"]) == 200


def test_after_two_seconds_it_is_written_whatever_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WRITE_S", 0.0)
    monkeypatch.setattr(files, "WRITE_SHARE", 0)
    with open_result(tmp_path, KEY, first) as file:
        add(file, 0, 60)
        assert len(read_result(file.path)) == 60
