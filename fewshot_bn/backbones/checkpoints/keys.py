"""How the keys of a checkpoint become the keys of a network: as a card says, and nothing else happens to a key."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.errors import ModelError, some

STAR = "([^./]+)"  # what one "*" of a rename stands for
MOST_DEPTH = 8  # of entries within entries


def tensors_of(content: Mapping[str, Any], rules: KeyRules, where: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of the network; with `in_order`, under their own."""
    turn = _from_hwio if rules.kernels == "HWIO" else _as_it_is
    return {name: turn(value) for name, (_, value) in with_origins(content, rules, where).items()}


def with_origins(content: Mapping[str, Any], rules: KeyRules, where: str) -> dict[str, tuple[str, Tensor]]:
    """For each name of the network its key in the checkpoint, and the tensor as it stands there.

    Raises `ModelError` where the rules do not go with the checkpoint.
    """
    content = entry_of(content, rules, where)
    kept = {k: v for k, v in content.items() if not any(fnmatchcase(k, pattern) for pattern in rules.drop)}
    others = [k for k, v in kept.items() if not isinstance(v, Tensor)]
    if others:
        raise ModelError(
            f"{where}: entries that are no tensors: {some(others)}; name the entry of the weights (unwrap)"
        )
    strange = [k for k in kept if not k.startswith(rules.prefix)]
    if strange:
        raise ModelError(f"{where}: keys without the prefix {rules.prefix!r} that are not dropped: {some(strange)}")
    names = renamed([k.removeprefix(rules.prefix) for k in kept], rules.rename)
    origin: dict[str, str] = {}
    for key, name in zip(kept, (_ended(name, rules.endings) for name in names), strict=True):
        if name in origin:
            raise ModelError(f"{where}: rename makes {name!r} of two keys, {origin[name]!r} and {key!r}")
        origin[name] = key
    return {name: (key, kept[key]) for name, key in origin.items()}


def entry_of(content: Mapping[str, Any], rules: KeyRules, where: str) -> Mapping[str, Any]:
    """The entry of the weights, before anything is dropped. Raises `ModelError` if there is none."""
    for part in filter(None, rules.unwrap.split(".")):
        if part not in content or not isinstance(content[part], Mapping):
            raise ModelError(f"{where}: no entry {part!r} that holds tensors; its entries are {some(list(content))}")
        content = content[part]
    check_names(content, where)
    return dict(_joined(content)) if rules.nested else content


def check_names(content: Mapping[Any, Any], where: str) -> None:
    strange = [key for key in content if not isinstance(key, str)]
    if strange:
        raise ModelError(f"{where}: keys that are no names: {some(strange)}")


def in_order(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], rules: KeyRules, where: str
) -> dict[str, Tensor]:
    """`tensors` under the names of `own` that must be there, one by one. Raises `ModelError` at the first misfit."""
    names = [name for name in own if not any(fnmatchcase(name, pattern) for pattern in rules.may_lack)]
    for (key, value), name in zip(tensors.items(), names, strict=False):
        if value.shape != own[name].shape:
            found, needed = tuple(value.shape), tuple(own[name].shape)
            raise ModelError(f"{where}: in order, {key} {found} would be {name}, which is {needed}; drop what is more")
    if len(tensors) != len(names):
        raise ModelError(f"{where}: holds {len(tensors):,} tensors, the network has {len(names):,}; drop what is more")
    return dict(zip(names, tensors.values(), strict=True))


def renamed(keys: Sequence[str], rename: Mapping[str, str]) -> list[str]:
    """`keys` as `KeyRules.rename` says."""
    if not rename:
        return list(keys)
    rules = [
        (re.compile(re.escape(old).replace(r"\*", STAR)), new)
        for old, new in sorted(rename.items(), key=lambda rule: -len(rule[0]))
    ]
    return [_renamed(key, rules) for key in keys]


def _renamed(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for old, new in rules:
        if found := old.match(key):
            for part in found.groups():
                new = new.replace("*", part, 1)  # noqa: PLW2901
            return new + key[found.end() :]
    return key


def _ended(key: str, endings: Mapping[str, str]) -> str:
    old = max((end for end in endings if key.endswith(end)), key=len, default="")
    return key.removesuffix(old) + endings[old] if old else key


def _joined(content: Mapping[Any, Any], front: str = "", depth: int = MOST_DEPTH) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and depth:
            yield from _joined(value, f"{front}{key}.", depth - 1)
        else:
            yield f"{front}{key}", value


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _from_hwio(value: Tensor) -> Tensor:
    if value.ndim == 4 and value.shape[:3] == (1, 1, 1):
        return value.flatten()
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value
