"""Settings of modes given as text: `--set MODE.SETTING=VALUE`, and modes by name or from a file of the user's own."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fewshot_bn.errors import UsageError, unknown

Settings = TypeVar("Settings")
MOST = 2**31 - 1
Texts = Mapping[str, Mapping[str, str]]  # by mode and setting


def parse_texts(texts: Sequence[str], flag: str = "--set") -> dict[str, dict[str, str]]:
    """The text of each setting that an option names, by mode and setting."""
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        mode, dot, setting = name.partition(".")
        if not (equals and dot and mode and setting and value):
            raise UsageError(f"{flag} {text!r} is not of the form MODE.SETTING=VALUE, e.g. bn.steps=40")
        if setting in settings.setdefault(mode, {}):
            raise UsageError(f"{flag} names {name} twice")
        settings[mode][setting] = value
    return settings


def with_texts(name: str, default: Settings, texts: Mapping[str, str]) -> Settings:
    """`default`, a dataclass of settings, with some of them given as text, e.g. {"steps": "40"}."""
    from fewshot_bn.adapters import with_settings

    hints = typing.get_type_hints(type(default))
    fields = [field.name for field in dataclasses.fields(default)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for setting, text in texts.items():
        if setting not in fields:
            raise unknown(f"setting of {name}", setting, fields)
        values[setting] = parse_value(text, hints[setting], f"{name}.{setting}")
    return with_settings(name, default, values)


def parse_value(text: str, hint: Any, where: str) -> Any:
    """The value of a setting of the type `hint`; `where` names it in errors."""
    if typing.get_origin(hint) is typing.Literal:
        return text  # with_settings knows the choices
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{where} is {text!r}; it must be true or false")
        return text.lower() == "true"
    try:
        value = hint(text)
    except ValueError as problem:
        kind = {int: "a whole number", float: "a number"}.get(hint, str(hint))
        raise UsageError(f"{where} is {text!r}; it must be {kind}") from problem
    if hint is int and abs(value) > MOST:
        raise UsageError(f"{where} is {text!r}; it must be at most {MOST}")
    return value
