"""The card of a checkpoint as the text of its file. Quick to import."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fewshot_bn.backbones.cards.card import ModelCard

ALWAYS = ("resize_px", "crop_px", "keep_aspect", "interpolation", "mean", "std")  # even if they are as by default
SHORT = 4  # entries of a table that are written in one line


def text_of(card: ModelCard, comments: Mapping[str, str] | None = None) -> str:
    """TOML that is read as `card`: fields that are as by default are left out, except those of images.

    `comments` are written above a field or a table of that name.
    """
    return re.sub("\n{3,}", "\n\n", "\n".join(_record("", card, comments or {}))).strip() + "\n"


def in_lines(record: Any) -> list[str]:
    """The fields of a record that are not as by default, one a line."""
    fields = [field for field in dataclasses.fields(record) if _is_told(field, record)]
    return [f"{field.name} = {_inline(getattr(record, field.name))}" for field in fields]


def _record(path: str, record: Any, comments: Mapping[str, str]) -> Iterator[str]:
    """A heading if it has a path, the fields that fit in a line each, then its tables."""
    given = {field.name: getattr(record, field.name) for field in dataclasses.fields(record) if _is_told(field, record)}
    tables = {name: value for name, value in given.items() if _is_table(value)}
    if path:
        yield f"[{path}]"
    for name, value in given.items():
        if name not in tables:
            yield from _comment(comments.get(name, ""))
            yield f"{name} = {_inline(value)}"
    for name, value in tables.items():
        yield ""
        yield from _comment(comments.get(name, ""))
        yield from _table(f"{path}.{name}" if path else name, value)


def _is_told(field: "dataclasses.Field[Any]", record: Any) -> bool:
    made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return field.name in ALWAYS or getattr(record, field.name) != made


def _is_table(value: Any) -> bool:
    items = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, tuple) else []
    is_long = isinstance(value, Mapping) and len(value) > SHORT
    return dataclasses.is_dataclass(value) or is_long or any(map(dataclasses.is_dataclass, items))


def _table(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            first, *lines = _record(path, item, {})
            yield from (f"[{first}]", *lines, "")
    elif not isinstance(value, Mapping):
        yield from _record(path, value, {})
    elif any(map(dataclasses.is_dataclass, value.values())):
        for key, item in value.items():
            yield from (*_record(f"{path}.{_key(key)}", item, {}), "")
    else:
        yield from (f"[{path}]", *(f"{_key(key)} = {_inline(item)}" for key, item in value.items()))


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in text.splitlines()]
