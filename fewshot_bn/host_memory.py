"""Keep freed memory in the process, for a run that frees and takes the same gigabytes in every training step.

By default glibc gives large freed blocks back to the kernel, which hands them out again page by page, each filled with
zeros first. With activations of 100 MB and more that is a third of the time of a training step on a CPU.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """For the whole process and for good: a choice for a program, not for a library. Does nothing but on glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)
