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
    own = {
        key: value
        for key, value in network.state_dict().items()
        if not any(fnmatchcase(key, pattern) for pattern in may_lack)
    }
    found = [(unwrap, lines) for unwrap, tensors in _mappings(content) if (lines := _lines(tensors, own, network))]
    if not found:
        return ""
    (first, lines), *others = found
    lines = [f'unwrap = "{first}"'] * bool(first) + [line for line in lines if line]
    also = f" (or the entry {some([repr(unwrap) for unwrap, _ in others])}, which fits as well)" if others else ""
    return f"[keys] {', '.join(lines)}{also}"


def _lines(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """The lines of a card by which `tensors` fit (one is empty if none is needed); none if they do not."""
    prefix = _prefix(tensors, own)
    whole = all(prefix + key in tensors and _suits(tensors[prefix + key], value) for key, value in own.items())
    drop = _patterns([key for key in tensors if not _is_of(key, prefix, network)], [prefix + key for key in own])
    if not whole or len(drop) > MOST_DROPPED:
        return []
    return [f'prefix = "{prefix}"' * bool(prefix), f"drop = {drop}".replace("'", '"') * bool(drop)]


def _suits(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape and fits(value, own) and bool(value.isfinite().all())


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


def _is_of(key: str, prefix: str, network: nn.Module) -> bool:
    return key.startswith(prefix) and key.removeprefix(prefix) in network.state_dict()


def _patterns(others: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """As few patterns as name all `others` and nothing that is wanted: the shortest front of each, part by part."""
    patterns: dict[str, None] = {}
    for key in others:
        parts = key.split(".")
        fronts = [".".join(parts[:n]) + ".*" for n in range(1, len(parts))]
        free = (front for front in fronts if not any(fnmatchcase(other, front) for other in wanted))
        patterns[next(free, key)] = None
    return list(patterns)
