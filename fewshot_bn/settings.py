"""Fields that say what they are for: what a run is asked for, and what can be set about an adapter.

Options, help texts and the tables of the documentation are made from them, so each fact is told once.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

Value = TypeVar("Value")


def setting(
    default: Value,
    text: str,
    *,
    source: str = "",
    choices: Callable[[], Collection[str]] | None = None,
    later: bool = False,
    **more: Any,
) -> Value:
    """A field of a frozen dataclass: its default, what it means, and where it comes from ("CD-FSL", "DAFT").

    `choices` gives the values that a text field may have, where its type does not say; `later` marks a field that was
    added when results without it existed (`told`); `more` is for whoever makes something else of the field, such as an
    option of the command line.
    """
    metadata = {"text": text, "source": source, "choices": choices, "later": later, **more}
    return dataclasses.field(default=default, metadata=metadata)


def told(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass with their values, as results are told apart by them.

    A field that was added later is left out while it has its default, which is what there was before: so results keep
    their names, and none is computed again.
    """
    unchanged = {
        field.name
        for field in dataclasses.fields(settings)
        if field.metadata.get("later") and getattr(settings, field.name) == field.default
    }
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in unchanged}
