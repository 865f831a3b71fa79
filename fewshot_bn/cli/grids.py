"""Grids of settings given as text: `--grid MODE.SETTING=VALUE,VALUE`, or one by its name, `--grid MODE=NAME`."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot_bn.cli.settings import parse_value
from fewshot_bn.errors import UsageError, unknown

SAME = "+"  # between settings that have the same value


def grids_of(texts: Sequence[str], modes: Mapping[str, Any]) -> dict[str, Sequence[Sequence[Mapping[str, Any]]]]:
    """Lists of points by mode. Raises `UsageError` for texts that are none, or of a mode that is not among `modes`."""
    from fewshot_bn.evaluation.many_shot.grid import product
    from fewshot_bn.evaluation.many_shot.modes import GRIDS

    named: dict[str, str] = {}
    values: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    for text in texts:
        left, equals, right = text.partition("=")
        mode, dot, settings = left.partition(".")
        if not (equals and right and mode and (settings or not dot)):
            raise UsageError(
                f"--grid {text!r} is not of the form MODE.SETTING=VALUE,VALUE, e.g. ft.lr_body+lr_head=0.001,0.01, or "
                "MODE=NAME"
            )
        if mode not in modes:
            raise UsageError(f"--grid names {mode!r}, which is not a mode of this run ({', '.join(modes)})")
        if not dot:
            if right not in GRIDS:
                raise unknown("grid", right, GRIDS)
            named[mode] = right
            continue
        names = tuple(settings.split(SAME))
        taken = {name for one in values.get(mode, {}) for name in one}
        if taken & set(names) or len(set(names)) < len(names):
            raise UsageError(f"--grid names a setting of {mode} twice: {settings}")
        values.setdefault(mode, {})[names] = _values(mode, modes[mode], names, right)
    if both := named.keys() & values.keys():
        raise UsageError(f"--grid gives {min(both)} a grid by name and settings; only one of them can be")
    return {**{mode: GRIDS[name] for mode, name in named.items()}, **{m: [product(v)] for m, v in values.items()}}


def _values(mode: str, settings: Any, names: Sequence[str], text: str) -> list[Any]:
    hints = typing.get_type_hints(type(settings))
    fields = [field.name for field in dataclasses.fields(settings)]
    for name in names:
        if name not in fields:
            raise unknown(f"setting of {mode}", name, fields)
    hint, where = hints[names[0]], f"{mode}.{SAME.join(names)}"
    found = [parse_value(part.strip(), hint, where) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise UsageError(f"--grid gives {mode}.{SAME.join(names)} a value twice: {text}")
    return found
