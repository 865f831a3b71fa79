"""Damaged files by the thousand: each gives a right value or an error of the package, soon and in little memory.

A trial is a function of a generator: it damages a file, reads it, and asserts what must hold of a value that comes out.
"""

import contextlib
import faulthandler
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fewshot_bn.errors import FewshotError

LONGEST_S = 20
MOST_BYTES = 2**31
SHOWN = 5  # failures
Trial = Callable[[np.random.Generator], None]


def tiers(few: int, many: int) -> pytest.MarkDecorator:
    """`numbers` of some tens of trials for every day, and of the many others for the night."""
    nightly = pytest.param(range(few, few + many), marks=pytest.mark.nightly)
    return pytest.mark.parametrize("numbers", [range(few), nightly], ids=["few", "many"])


def survive(trial: Trial, numbers: range) -> None:
    """Fail with the numbers of the trials that end in anything but a value or an error of the package."""
    failures, refused, seconds = [], 0, {}
    for number in numbers:
        began = time.monotonic()
        try:
            with _limits():
                trial(np.random.default_rng(np.random.Philox(number)))
        except FewshotError as problem:
            refused += 1
            if not str(problem).strip():
                failures.append(f"trial {number}: an error without a message")
        except Exception as problem:  # what a trial is there to find
            where = traceback.extract_tb(problem.__traceback__)[-1]
            failures.append(
                f"trial {number}: {type(problem).__name__}: {problem!s:.300} ({where.filename}:{where.lineno})"
            )
        except _TooLongError:
            failures.append(f"trial {number}: longer than {LONGEST_S} s")
        seconds[number] = time.monotonic() - began
    slowest = max(seconds, key=seconds.__getitem__)
    sys.stdout.write(f"{len(numbers)} trials, {refused} refused, the slowest {slowest}: {seconds[slowest]:.1f} s\n")
    assert not failures, "\n".join([f"{len(failures)} of {len(numbers)} failed", *failures[:SHOWN]])
    assert refused, "nothing was refused: the damage does not reach what is read"


class _TooLongError(BaseException):
    """No `except Exception` of the package takes it for damage."""


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """No longer than `LONGEST_S`, and no more memory than `MOST_BYTES` on top of what the process has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, _too_long)
    resource.setrlimit(resource.RLIMIT_AS, (has + MOST_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    faulthandler.dump_traceback_later(3 * LONGEST_S, exit=True)  # of what a library in C does not come back from
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _too_long(*_: object) -> None:
    raise _TooLongError
