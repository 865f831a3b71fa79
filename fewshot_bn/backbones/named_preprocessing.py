"""Preprocessing as text names it, or as a card, a table or a program gives it.

A text is a list of what is to change (`resize=256,crop=224,mean=0.5/0.5/0.5`), the path of a TOML file with a table
[preprocessing], such as a card, or the name of a shipped model or of a network of a library, whose own is taken.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fewshot_bn.backbones.backbone import RANDOM
from fewshot_bn.backbones.cards.card import shipped_models
from fewshot_bn.backbones.libraries.sources import SOURCES, all_names, split_name, split_weights
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.files.cards import read_table, record_of
from fewshot_bn.preprocessing import Preprocessing

FIELDS = {field.name.removesuffix("_px"): field for field in dataclasses.fields(Preprocessing)}
ASPECTS = {"true": True, "false": False}
NEEDED = ("crop", "mean", "std")
FORMS = (
    "a card or the name of a model whose preprocessing is taken, a TOML file with a table [preprocessing], or a list "
    "such as resize=256,crop=224,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"
)


def preprocessing_of(given: object, own: Callable[[], Preprocessing]) -> Preprocessing:
    """What `given` stands for; None for what the network has of its `own`.

    A list of changes starts from its own. If it has none, the list has to name crop, mean and std.
    """
    if given is None:
        return own()
    if isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        table = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        return record_of(table, Preprocessing, ModelError, where="preprocessing")
    if not isinstance(given, str | Path) or not str(given).strip():
        needed = f"a Preprocessing, a dict of its fields, or a text is needed: {FORMS}"
        raise UsageError(f"preprocessing is {given!r}; {needed}")
    text, weights = split_weights(str(given), None)
    if Path(text).suffix == ".toml" or text in shipped_models():
        return _of_table(shipped_models().get(text, Path(text)))
    return _changed(_changes(text), own) if "=" in text else _of_network(text, weights)


def _of_table(path: Path) -> Preprocessing:
    table = read_table(path, ModelError).get("preprocessing")
    if not isinstance(table, dict):
        raise ModelError(f"{path}: has no table [preprocessing]")
    return record_of(table, Preprocessing, ModelError, where=f"{path}: preprocessing")


def _of_network(text: str, weights: str | None) -> Preprocessing:
    library, name = split_name(text)
    if library and name in SOURCES[library].names():
        name, weights = SOURCES[library].named(name, weights)
        return SOURCES[library].preprocessing(name, None if weights == RANDOM else weights)
    raise UsageError(f"{unknown('preprocessing', text, [*shipped_models(), *all_names()])}; it is {FORMS}")


def _changes(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in FIELDS:
            raise UsageError(f"--preprocessing {text}: {unknown('part', name, FIELDS)}, each as name=value")
        field = FIELDS[name]
        if field.name in found:
            raise UsageError(f"--preprocessing {text}: names {name} twice")
        try:
            found[field.name] = _value(field, value)
        except (ValueError, KeyError) as problem:
            needed = {"mean": "3 numbers such as 0.5/0.5/0.5", "std": "3 numbers such as 0.5/0.5/0.5"}
            more = needed.get(name, "true or false" if name == "keep_aspect" else "a whole number of pixels")
            raise UsageError(f"--preprocessing {text}: {name} is {value!r}; {more} is needed") from problem
    return found


def _value(field: "dataclasses.Field[Any]", text: str) -> Any:
    if isinstance(field.default, bool):
        return ASPECTS[text.lower()]
    if isinstance(field.default, tuple):
        first, second, third = map(float, text.split("/"))
        return first, second, third
    return int(text) if isinstance(field.default, int) else text


def _changed(changes: dict[str, Any], own: Callable[[], Preprocessing]) -> Preprocessing:
    try:
        base = own()
    except ModelError as problem:
        lacking = [name for name in NEEDED if FIELDS[name].name not in changes]
        if lacking:
            raise ModelError(f"{problem} (--preprocessing does not name {', '.join(lacking)})") from problem
        base = Preprocessing(changes["crop_px"], changes["crop_px"])
    if "interpolation" in changes:
        record_of({"interpolation": changes["interpolation"]}, Preprocessing, UsageError, where="--preprocessing")
    return dataclasses.replace(base, **changes)
