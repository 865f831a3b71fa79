"""Fields that say what they are for: what a run is asked for, and what can be set about an adapter.

Options, help texts and the tables of the documentation are made from them, so each fact is told once.
"""

import dataclasses
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fewshot_bn.errors import UsageError

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


def taken(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """The value of a field as it is kept. Raises `UsageError` where it is none that the field may have."""
    facts = field.metadata
    if value is None and "None" in str(field.type):
        return None
    if "least" in facts:
        several = facts.get("several")
        return tuple(_number(field, one) for one in _listed(value)) if several else _number(field, value)
    if "object" in facts:
        several = facts.get("several")
        return tuple(_named(field, one) for one in _listed(value)) if several else _named(field, value)
    if facts.get("several"):  # names, or objects by name
        return value if isinstance(value, Mapping) else tuple(_listed(value))
    if isinstance(field.default, bool):
        return _of_kind(field, value, bool, "True or False")
    is_number = facts.get("parse") is float
    return float(_of_kind(field, value, int | float, "a number")) if is_number else _text(field, value)


def _text(field: "dataclasses.Field[Any]", value: Any) -> str | Path:
    """A text, or a path."""
    is_path = field.metadata.get("parse") is Path
    text = os.fspath(_of_kind(field, value, str | Path, "a path" if is_path else "a text"))
    return Path(os.path.expanduser(text)) if is_path else text  # noqa: PTH111 - without a home it stays as it is


def _listed(value: Any) -> Any:
    return value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _number(field: "dataclasses.Field[Any]", value: Any) -> int:
    least = field.metadata["least"]
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise UsageError(f"{field.name} is {value!r}; a whole number of at least {least} is needed")
    return operator.index(value)


def _named(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """A name or a path, or an object of the class that the field may hold, which is known without its module."""
    name, makers = field.metadata["object"]
    if isinstance(value, str | Path):
        return os.path.expanduser(value)  # noqa: PTH111 - a name, too; a shell leaves the ~ in --dataset=~/x
    if name not in [base.__name__ for base in type(value).__mro__]:
        raise UsageError(
            f"{field.name} is a {type(value).__name__}; a name, a path or a {name} is needed: {makers} make one"
        )
    return value


def _of_kind(field: "dataclasses.Field[Any]", value: Any, kind: Any, words: str) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{field.name} is {value!r}; {words} is needed")
    return value
