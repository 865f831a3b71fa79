"""Adapters by name. A new one is its file, a line in `ADAPTERS` and a row in the contract test."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from fewshot_bn.adapters.bn import BatchNormTuning
from fewshot_bn.adapters.contract import Adapter, Fit, Probe, Tuner
from fewshot_bn.adapters.lr import LogisticRegression
from fewshot_bn.adapters.proto import Prototypes
from fewshot_bn.errors import UsageError, unknown

__all__ = ["ADAPTERS", "Adapter", "Fit", "Probe", "Tuner", "make_adapter", "settings_of"]

ADAPTERS: dict[str, type[Adapter]] = {
    "proto": Prototypes,
    "lr": LogisticRegression,
    "bn": BatchNormTuning,
}


def make_adapter(name: str, settings: Mapping[str, str] | None = None) -> Adapter:
    """The adapter `name` with settings given as text, e.g. {"steps": "40"}; the others keep their defaults."""
    if name not in ADAPTERS:
        raise unknown("mode", name, ADAPTERS)
    kind = ADAPTERS[name]
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    values = {}
    for setting, text in (settings or {}).items():
        if setting not in fields:
            if not fields:
                raise UsageError(f"{name}.{setting}: {name} has no settings")
            raise unknown(f"setting of {name}", setting, fields)
        values[setting] = _parse(text, hints[setting], f"{name}.{setting}")
    try:
        return kind(**values)
    except UsageError as problem:
        raise UsageError(f"{name}: {problem}") from problem


def settings_of(adapter: Adapter) -> dict[str, Any]:
    """Every setting of the adapter with its value, defaults included."""
    return dataclasses.asdict(adapter)


def _parse(text: str, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        if text not in typing.get_args(hint):
            raise unknown(f"value of {where}", text, typing.get_args(hint))
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{where} is {text!r}; it must be true or false")
        return text.lower() == "true"
    try:
        return hint(text)
    except ValueError as problem:
        kind = {int: "a whole number", float: "a number"}.get(hint, str(hint))
        raise UsageError(f"{where} is {text!r}; it must be {kind}") from problem
