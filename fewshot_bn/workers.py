"""Work on the rows of a dataset in as many processes as there are cores, or in threads if that is sooner done."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.errors import DataError
from fewshot_bn.host_memory import keep_freed_memory

ROWS = 32  # that a worker takes at a time
FEW = 2_000  # images that threads decode sooner than processes start

Done = TypeVar("Done")


def map_rows(
    work: Callable[[list[int]], Done],
    rows: Int64[ndarray, "n"],
    n_workers: int | None = None,
    *,
    in_memory: bool = False,
) -> Iterator[tuple[list[int], Done]]:
    """`work` applied to groups of rows; yields each group with what came of it, in the order in which they are done.

    Threads do it if there are few rows, or the images are `in_memory`, which processes would have to copy. Raises what
    `work` raises, and `DataError` if a process is killed.
    """
    n_workers = n_workers or n_cores()
    groups = [rows[start : start + ROWS].tolist() for start in range(0, len(rows), ROWS)]
    pool: Executor
    job: Callable[[list[int]], Done]
    if in_memory or len(rows) <= FEW:
        pool, job = ThreadPoolExecutor(n_workers, thread_name_prefix="rows"), work
    else:
        pool = ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _start, (work,))
        job = _in_process
    try:
        with _interrupts_held():  # processes start with the first group, and leave Ctrl-C to this one
            futures = {pool.submit(job, group): group for group in groups}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as problem:
        raise DataError("a process that reads images was killed, perhaps for want of memory; try again") from problem
    finally:
        pool.shutdown(cancel_futures=True)


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_work: Callable[[list[int]], Any] | None = None


def _start(work: Callable[[list[int]], Any]) -> None:
    """In a new process: take the work, and end when the process that gave it is killed."""
    global _work  # noqa: PLW0603 - how an initialiser hands over to the jobs of its process
    _work = work
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _in_process(rows: list[int]) -> Any:
    if _work is None:
        raise RuntimeError("this process was not started with _start")
    return _work(rows)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
