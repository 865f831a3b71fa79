import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from reference.work import die, process_numbers, squares, stumble

from fewshot_bn import workers
from fewshot_bn.errors import DataError
from fewshot_bn.workers import map_rows, one_ahead


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


def test_what_was_done_before_something_failed_comes_first(processes, monkeypatch):
    def failures_first(futures):
        concurrent.futures.wait(futures)
        return sorted(futures, key=lambda future: future.exception() is None)

    def work(rows):
        if 3 in rows:
            raise OSError("the disk is full")
        return squares(rows)

    monkeypatch.setattr(workers, "as_completed", failures_first)
    found = map_rows(work, np.arange(9), 1, in_memory=True)
    assert [next(found), next(found)] == [([0, 1, 2], [0, 1, 4]), ([6, 7, 8], [36, 49, 64])]
    with pytest.raises(OSError, match="the disk is full"):
        next(found)


def test_stopping_early_leaves_nothing_running(processes):
    steps = map_rows(squares, np.arange(3000), 2)
    next(steps)
    steps.close()


def test_the_work_of_processes_needs_no_heavy_library():
    heavy = ["torch", "torchvision", "sklearn", "scipy", "h5py", "PIL"]
    modules = "fewshot_bn.datasets.fetching, fewshot_bn.inputs.store"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def none_can_be_had(*arguments):
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("way", ["/dev/shm is read-only", "they end at once"])
def test_where_no_process_can_be_started_threads_do_the_work_and_it_is_said(processes, monkeypatch, caplog, way):
    if way == "they end at once":
        monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: b"/bin/false")
    else:
        monkeypatch.setattr("multiprocessing.context.SpawnContext.Event", none_can_be_had)
    assert [number for _, number in map_rows(process_numbers, np.arange(9), 2)] == [os.getpid()] * 3
    (said,) = caplog.messages
    assert said.startswith("no process that reads images can be started")
    shm = ": semaphores, which lie in /dev/shm, cannot be made (Read-only file system); threads read them"
    assert (shm in said) == (way != "they end at once")


@pytest.mark.parametrize(
    "process",
    [SimpleNamespace(daemon=True), SimpleNamespace(daemon=False, _inheriting=True)],
    ids=["of a pool", "not up yet"],
)
def test_a_process_that_may_have_no_children_takes_threads(processes, monkeypatch, caplog, process):
    monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
    assert {number for _, number in map_rows(process_numbers, np.arange(9), 2)} == {os.getpid()}
    assert not caplog.messages


def test_work_that_cannot_be_handed_over_is_done_by_threads(processes, caplog):
    assert {number for _, number in map_rows(lambda rows: os.getpid(), np.arange(9), 2)} == {os.getpid()}
    assert not caplog.messages


def images(folder):
    """2,160 of them, more than threads take on."""
    encoded = folder / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)).save(encoded)
    for k in range(6):
        (folder / "many" / f"c{k}").mkdir(parents=True)
        for i in range(360):
            (folder / "many" / f"c{k}" / f"{i:03d}.png").hardlink_to(encoded)
    encoded.unlink()


UNGUARDED = """
from fewshot_bn.data import main
print("once", flush=True)
raise SystemExit(main(["verify", "many"]))
"""


@pytest.mark.full
@pytest.mark.parametrize("way", ["script", "standard input"])
def test_a_program_needs_no_guard_and_is_run_once(tmp_path, way):
    images(tmp_path)
    (tmp_path / "program.py").write_text(UNGUARDED)
    with (tmp_path / "program.py").open() as program:
        how = {"args": [sys.executable, "program.py"]} if way == "script" else {"args": [sys.executable]}
        done = subprocess.run(
            **how, stdin=program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
        )
    lines = done.stdout.splitlines()
    assert (lines.count("once"), lines[1]) == (1, "many: 2,160 images, 6 classes")
    assert any("the same byte for byte" in line for line in lines)  # all were read
    assert done.stderr == ""


ENDLESS = """
import time
import numpy as np
from fewshot_bn.workers import map_rows
from slow import read
for rows, _ in map_rows(read, np.arange(32_000), 2):
    print(rows[0], flush=True)
"""


@pytest.mark.full
def test_one_ctrl_c_ends_a_program_and_its_processes(tmp_path):
    (tmp_path / "slow.py").write_text("import os, time\ndef read(rows):\n    time.sleep(0.2)\n    return os.getpid()\n")
    (tmp_path / "program.py").write_text(ENDLESS)
    arguments = [sys.executable, "program.py"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)  # until no process of it holds the pipes any more
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


def test_one_ahead_is_in_order_and_one_item_ahead():
    begun = []

    def work(item):
        begun.append(item)
        return item**2

    seen = []
    for answer in one_ahead(work, range(4)):
        seen.append(answer.result())
        assert begun[: len(seen)] == list(range(len(seen)))
        assert len(begun) <= len(seen) + 1
    assert seen == [0, 1, 4, 9]
    assert not list(one_ahead(work, []))


def test_one_ahead_hands_on_what_goes_wrong_with_an_item_and_stops_with_its_caller():
    answers = one_ahead(lambda item: 1 // item, [1, 0, 2])
    assert next(answers).result() == 1
    with pytest.raises(ZeroDivisionError):
        next(answers).result()
    answers.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
