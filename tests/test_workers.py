import os
import subprocess
import sys

import numpy as np
import pytest
from reference.work import die, process_numbers, squares, stumble

from fewshot_bn import workers
from fewshot_bn.errors import DataError
from fewshot_bn.workers import map_rows


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.setattr(workers, "FEW", 0)
    monkeypatch.setattr(workers, "ROWS", 3)


@pytest.mark.parametrize("n", [0, 1, 3, 10])
def test_every_row_is_worked_on_once(processes, n):
    found = list(map_rows(squares, np.arange(n), 2))
    assert sorted(row for rows, _ in found for row in rows) == list(range(n))
    assert all(done == squares(rows) for rows, done in found)


def test_many_rows_take_processes_and_few_or_images_in_memory_threads(processes):
    assert os.getpid() not in {number for _, number in map_rows(process_numbers, np.arange(9), 2)}
    assert {number for _, number in map_rows(process_numbers, np.arange(9), 2, in_memory=True)} == {os.getpid()}
    workers.FEW = 9
    assert {number for _, number in map_rows(process_numbers, np.arange(9), 2)} == {os.getpid()}


def test_a_process_that_is_killed_is_said(processes):
    with pytest.raises(
        DataError, match="a process that reads images was killed, perhaps for want of memory; try again"
    ):
        list(map_rows(die, np.arange(9), 2))


def test_what_the_work_raises_arrives(processes):
    with pytest.raises(OSError, match="No space left on device"):
        list(map_rows(stumble, np.arange(9), 2))


def test_stopping_early_leaves_nothing_running(processes):
    steps = map_rows(squares, np.arange(3000), 2)
    next(steps)
    steps.close()


def test_the_work_of_processes_needs_no_heavy_library():
    heavy = ["torch", "torchvision", "sklearn", "scipy", "h5py", "PIL"]
    modules = "fewshot_bn.datasets.fetching, fewshot_bn.inputs.store"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
