"""Cards: TOML files that state the facts of a dataset or of a backbone checkpoint, read into frozen dataclasses."""

import dataclasses
import sys
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from fewshot_bn.errors import FewshotError, unknown
from fewshot_bn.files.atomic import read_file

Card = TypeVar("Card")
MOST_BYTES = 2**20


def read_card(path: Path, kind: type[Card], error: type[FewshotError]) -> Card:
    """Read `path` into the dataclass `kind`; raise `error` for a missing, unknown or mistyped field."""
    return record_of(read_table(path, error), kind, error, where=str(path))


def read_table(path: Path, error: type[FewshotError]) -> dict[str, Any]:
    """What a TOML file holds."""
    try:
        return tomllib.loads(read_file(path, MOST_BYTES).decode("utf-8").replace("\r\n", "\n"))
    except OSError as problem:
        raise error(f"{path}: this card cannot be read: {problem.strerror}") from problem
    except RecursionError as problem:
        raise error(f"{path}: this card is not valid: its arrays or tables are too deep") from problem
    except ValueError as problem:  # of TOML, of UTF-8, or a number of thousands of digits
        raise error(f"{path}: this card is not valid TOML: {problem}") from problem


def record_of(table: dict[str, Any], kind: type[Card], error: type[FewshotError], *, where: str) -> Card:
    """A table as the dataclass `kind`."""
    try:
        return _record(table, kind, where)
    except FewshotError as problem:
        front = "" if str(problem).startswith(where) else f"{where}: "
        raise error(f"{front}{problem}") from problem


def _record(table: dict[str, Any], kind: type[Card], where: str) -> Card:
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in fields:
            raise FewshotError(f"{where}: {unknown('field', name, fields)}")
    for name, field in fields.items():
        if name not in table and field.default is field.default_factory is dataclasses.MISSING:
            raise FewshotError(f"{where}: the field {name!r} is missing")
    return kind(**{name: _value(value, hints[name], f"{where}: {name}") for name, value in table.items()})


def _value(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint` says: tables as dataclasses, arrays as tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _value(value, next(option for option in arguments if option is not type(None)), where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _record(value, typing.cast("type[Any]", hint), where)
    if origin is tuple and isinstance(value, list):
        return _tuple(value, arguments, where)
    if origin is dict and isinstance(value, dict):
        return {key: _value(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    return _plain(value, hint, where)


def _tuple(values: list[Any], hints: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if hints[-1] is ...:
        hints = hints[:1] * len(values)
    if len(values) != len(hints):
        raise FewshotError(f"{where}: has {len(values)} values, {len(hints)} are needed")
    return tuple(_value(value, hint, where) for value, hint in zip(values, hints, strict=True))


def _plain(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise FewshotError(f"{where}: {unknown('value', str(value), choices)}")
    elif hint is float and type(value) is int:
        if abs(value) > sys.float_info.max:
            raise FewshotError(f"{where}: a whole number of {value.bit_length():,} bits is too large")
        return float(value)
    elif hint is not Any and type(value) is not hint:
        raise FewshotError(f"{where}: {value!r} is not of type {getattr(hint, '__name__', hint)}")
    return value
