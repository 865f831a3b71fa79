"""Keep freed memory in the process, for a run that frees and takes the same gigabytes in every training step.

By default glibc gives large freed blocks back to the kernel, which hands them out again page by page, each filled with
zeros first. With activations of 100 MB and more that is a third of the time of a training step on a CPU.
"""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """For the whole process and for good: a choice for a program, not for a library. Does nothing but on glibc."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)


def return_freed_memory() -> None:
    """Give back now what has been freed, between two pieces of work of which each takes gigabytes of its own sizes.

    Else the holes that the first leaves are too small for the second. Does nothing but on glibc.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
