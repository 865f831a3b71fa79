"""Fields that say what they are for: what a run is asked for, and what can be set about an adapter.

Options, help texts and the tables of the documentation are made from them, so each fact is told once.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

Value = TypeVar("Value")


def setting(
    default: Value, text: str, *, source: str = "", choices: Callable[[], Collection[str]] | None = None, **more: Any
) -> Value:
    """A field of a frozen dataclass: its default, what it means, and where it comes from ("CD-FSL", "DAFT").

    `choices` gives the values that a text field may have, where its type does not say; `more` is for whoever makes
    something else of the field, such as an option of the command line.
    """
    metadata = {"text": text, "source": source, "choices": choices, **more}
    return dataclasses.field(default=default, metadata=metadata)
