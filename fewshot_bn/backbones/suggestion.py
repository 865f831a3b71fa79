"""Which lines of a card would make a checkpoint fit a network, guessed from its keys; nothing is taken without them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from fewshot_bn.backbones.checkpoints import fits
from fewshot_bn.errors import some

DEPTH = 3  # of entries within entries
MOST_DROPPED = 6  # patterns; more would be no advice


def suggestion(content: Mapping[str, Any], network: nn.Module, may_lack: Sequence[str]) -> str:
    """As in `[keys] unwrap = "state_dict", prefix = "module."`, if all weights fit then; else nothing."""
    found = [
        (unwrap, lines)
        for unwrap, tensors in _mappings(content)
        for rename in ({}, _places(network))
        if (lines := _lines(tensors, network, may_lack, rename)) is not None
    ]
    if not found:
        return ""
    (first, lines), *others = found
    lines = [f'unwrap = "{first}"'] * bool(first) + lines
    names = [repr(unwrap) for unwrap, _ in others if unwrap != first]
    also = f" (or the entry {some(names)}, which fits as well)" if names else ""
    return f"[keys] {', '.join(lines)}{also}"


def _lines(
    tensors: Mapping[str, Tensor], network: nn.Module, may_lack: Sequence[str], rename: Mapping[str, str]
) -> list[str] | None:
    """The lines beside that of `unwrap` with which all weights fit; None if they do not."""
    written = {_written(key, rename): (key, value) for key, value in network.state_dict().items()}
    own = {
        key: value
        for key, (name, value) in written.items()
        if not any(fnmatchcase(name, pattern) for pattern in may_lack)
    }
    prefix = _prefix(tensors, own)
    whole = all(prefix + key in tensors and _suits(tensors[prefix + key], value) for key, value in own.items())
    others = [key for key in tensors if not (key.startswith(prefix) and key.removeprefix(prefix) in written)]
    drop = _patterns(others, [prefix + key for key in own])
    if not whole or len(drop) > MOST_DROPPED:
        return None
    table = ", ".join(f'"{old}" = "{new}"' for old, new in rename.items())
    lines = [f'prefix = "{prefix}"'] if prefix else []
    lines += [f"drop = {drop}".replace("'", '"')] if drop else []
    return lines + ([f"rename = {{ {table} }}"] if table else [])


def _suits(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape and fits(value, own) and bool(value.isfinite().all())


def _places(network: nn.Module) -> dict[str, str]:
    """What `nn.Sequential(*network.children())` makes of names, as rules of renaming: `0.` was `conv1.`."""
    children = enumerate(network.named_children())
    return {f"{place}.": f"{name}." for place, (name, child) in children if child.state_dict()}


def _written(key: str, rename: Mapping[str, str]) -> str:
    """How the file spells a key that is renamed so."""
    return next((old + key.removeprefix(new) for old, new in rename.items() if key.startswith(new)), key)


def _mappings(
    content: Mapping[str, Any], path: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The entries that hold tensors, by their path, outermost first."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for key, value in content.items():
        if depth and isinstance(key, str) and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            yield from _mappings(value, f"{path}.{key}" if path else key, depth - 1)


def _prefix(tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> str:
    """What stands before most of the network's own keys."""
    first = next(iter(own), "")
    found = Counter(key.removesuffix(first) for key in tensors if key.endswith(f".{first}") or key == first)
    return max(found, key=lambda prefix: sum(prefix + key in tensors for key in own), default="")


def _patterns(others: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """As few patterns as name all `others` and nothing that is wanted: the shortest front of each, part by part."""
    patterns: dict[str, None] = {}
    for key in others:
        parts = key.split(".")
        fronts = [".".join(parts[:n]) + ".*" for n in range(1, len(parts))]
        free = (front for front in fronts if not any(fnmatchcase(other, front) for other in wanted))
        patterns[next(free, key)] = None
    return list(patterns)
