"""Everything that fewshot_bn raises on purpose.

    FewshotError          one line: where, what was found, what was needed, what to do
    ├── UsageError        an unknown name, a number out of range, settings that do not go together
    ├── DataError         images, folders and cards of a dataset
    ├── StoreError        the file that keeps decoded images
    ├── ModelError        networks, cards and weights of a backbone
    ├── DeviceError       a device that is not there
    └── ResultError       result files and the folders they live in

At the command line each of these is one line on standard error and exit status 2.
"""

import difflib
from collections.abc import Iterable, Sequence


class FewshotError(Exception):
    """Any error whose message is meant for the person at the command line."""


class UsageError(FewshotError):
    """What was asked for does not exist or does not make sense."""


class DataError(FewshotError):
    """A dataset is missing, incomplete or unreadable."""


class StoreError(FewshotError):
    """Decoded images cannot be kept, or what is kept is damaged."""


class ModelError(FewshotError):
    """A backbone cannot be built, or its weights do not fit it."""


class DeviceError(FewshotError):
    """The device asked for is not available."""


class ResultError(FewshotError):
    """A result cannot be read, continued or written."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """Name the closest choice, then all of them, or where they are many the closest few."""
    choices = list(choices)
    by_letters = {choice.lower(): choice for choice in choices}
    close = [by_letters[near] for near in difflib.get_close_matches(name.lower(), by_letters, n=5, cutoff=0.5)]
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if len(choices) <= 12:
        return UsageError(f"unknown {kind} {name!r}{hint}; choose from: {', '.join(choices)}")
    shown = ", ".join(close or choices[:5])
    return UsageError(f"unknown {kind} {name!r}{hint}; there are {len(choices)}, such as: {shown}")


def some(names: Sequence[object], n: int = 3) -> str:
    """The first names of a list for a message, and how many more there are."""
    more = f" and {len(names) - n:,} more" if len(names) > n else ""
    return ", ".join(str(name) for name in names[:n]) + more


OUT_OF_MEMORY = ("OutOfMemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED")  # as torch says it


def is_out_of_memory(problem: Exception) -> bool:
    """Whether this is how Python, torch or its allocators say that memory has run out."""
    told = f"{type(problem).__name__}: {problem}"
    says = isinstance(problem, RuntimeError) and any(words in told for words in OUT_OF_MEMORY)
    return says or isinstance(problem, MemoryError)
