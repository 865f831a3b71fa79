"""Work on the rows of a dataset in as many processes as there are cores, or in threads if that is sooner done.

The processes do not run the program that started them again, so it needs no `if __name__ == "__main__":`, and may come
from a notebook or from standard input. Where no process can be started, threads do the work.
"""

import contextlib
import io
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.errors import DataError
from fewshot_bn.host_memory import keep_freed_memory

logger = logging.getLogger(__name__)

ROWS = 32  # that a worker takes at a time
FEW = 2_000  # images that threads decode sooner than processes start

Done = TypeVar("Done")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Job = Callable[[list[int]], Done]
_one_at_a_time = threading.Lock()


class _NotStarted(Exception):  # noqa: N818 - it never leaves this module
    """No process has begun to work."""


def map_rows(
    work: Job[Done], rows: Int64[ndarray, "n"], n_workers: int | None = None, *, in_memory: bool = False
) -> Iterator[tuple[list[int], Done]]:
    """`work` applied to groups of rows; yields each group with what came of it, in the order in which they are done.

    Threads do it if there are few rows, or the images are `in_memory`, which processes would have to copy, or if no
    process can be started. Raises what `work` raises, and `DataError` if a process is killed.
    """
    n_workers = n_workers or n_cores()
    groups = [rows[start : start + ROWS].tolist() for start in range(0, len(rows), ROWS)]
    if not in_memory and len(rows) > FEW and _can_start(work):
        try:
            yield from _in_processes(work, groups, n_workers)
        except _NotStarted as problem:
            reason = f": {problem}" if str(problem) else ""
            logger.warning(f"no process that reads images can be started{reason}; threads read them, more slowly")
        else:
            return
    yield from _mapped(ThreadPoolExecutor(n_workers, thread_name_prefix="rows"), work, groups)


def _in_processes(work: Job[Done], groups: list[list[int]], n_workers: int) -> Iterator[tuple[list[int], Done]]:
    context = multiprocessing.get_context("spawn")
    try:
        begun = context.Event()
        pool = ProcessPoolExecutor(n_workers, context, _start, (work, begun))
    except OSError as problem:
        raise _NotStarted(f"semaphores, which lie in /dev/shm, cannot be made ({problem.strerror})") from problem
    try:
        yield from _mapped(pool, _in_process, groups)
    except BrokenProcessPool as problem:
        if not begun.is_set():
            raise _NotStarted from problem
        raise DataError("a process that reads images was killed, perhaps for want of memory; try again") from problem


def _mapped(pool: Executor, job: Job[Done], groups: list[list[int]]) -> Iterator[tuple[list[int], Done]]:
    try:
        try:
            with _interrupts_held(), _main_left_out():  # processes start here, and leave Ctrl-C to this one
                futures = {pool.submit(job, group): group for group in groups}
        except (OSError, ValueError) as problem:  # too many processes, too little memory; pipes of one that is gone
            raise _NotStarted(problem if isinstance(problem, OSError) else "") from problem
        failed: BaseException | None = None
        for future in as_completed(futures):
            if future.cancelled():
                continue
            if (reason := future.exception()) is None:
                yield futures.pop(future), future.result()
            elif failed is None:  # what was done by then comes first
                failed = reason
                for other in futures:
                    other.cancel()
        if failed is not None:
            raise failed
    finally:
        pool.shutdown(cancel_futures=True)


def _can_start(work: Job[Any]) -> bool:
    """Whether this process may have children, and they can be given the work without the program being run again."""
    me = multiprocessing.current_process()
    if me.daemon or getattr(me, "_inheriting", False) or getattr(sys, "frozen", False):
        return False  # a child of somebody's pool, one that is not up yet, a program that is one file
    needed = _Modules(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
    try:
        needed.dump(work)
    except (pickle.PicklingError, TypeError, AttributeError):  # a lambda, an open file
        return False
    return "__main__" not in needed.found and all(map(_is_importable, needed.found))


def _is_importable(name: str) -> bool:
    """Whether a process that is new finds a module of this name, not only this one that has it already."""
    return any(finder.find_spec(name, None) for finder in sys.meta_path)


class _Modules(pickle.Pickler):
    """Finds the modules, by the first part of their names, that whoever reads the pickle has to import."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.found: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type) or hasattr(value, "__qualname__"):
            self.found.add(str(value.__module__).partition(".")[0])
        return NotImplemented


@contextlib.contextmanager
def _main_left_out() -> Iterator[None]:
    """Processes that this thread starts meanwhile are not told which program to run before their work.

    So it is not run once more in each of them, as far as to this very place if nothing guards its main part.
    """
    with _one_at_a_time:
        before, starter = spawn.get_preparation_data, threading.get_ident()

        def prepared(name: str) -> dict[str, Any]:
            told = before(name)
            left_out = ("init_main_from_name", "init_main_from_path") if threading.get_ident() == starter else ()
            return {key: value for key, value in told.items() if key not in left_out}

        spawn.get_preparation_data = prepared
        try:
            yield
        finally:
            spawn.get_preparation_data = before


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_work: Job[Any] | None = None


def _start(work: Job[Any], begun: Event) -> None:
    """In a new process: take the work, say so, and end when the process that gave it is killed."""
    global _work  # noqa: PLW0603 - how an initialiser hands over to the jobs of its process
    _work = work
    begun.set()
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


def one_ahead(work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Future[Answer]]:
    """`work` on each item, in order, in a thread of its own, which begins an item when the one before is yielded."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        begun: deque[Future[Answer]] = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > 1:
                yield begun.popleft()
        yield from begun
