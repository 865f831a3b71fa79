"""What the verbs say and show while they work: notes and progress bars."""

import sys
from collections.abc import Callable

from tqdm import tqdm

Say = Callable[[str], None]


def speaker(*, quiet: bool) -> Say:
    """Says things on standard error, or nothing where that is asked for."""
    return _say_nothing if quiet else _say_on_stderr


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def _say_nothing(text: str) -> None:
    del text


def progress(
    title: str, unit: str, total: int | None, done: int = 0, *, quiet: bool, scaled: bool = False
) -> "tqdm[None]":
    """A bar, on a terminal only, so that logs of batch scripts stay short; `scaled` for units such as bytes."""
    hidden = True if quiet else None
    return tqdm(
        desc=title,
        unit=unit,
        total=total,
        initial=done,
        leave=False,
        disable=hidden,
        unit_scale=scaled,
        unit_divisor=1024,
    )
