"""Which rules of a card would make a checkpoint fit a network, guessed from its keys; nothing is taken without them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.cards.text import in_lines
from fewshot_bn.backbones.checkpoints.keys import entry_of, tensors_of
from fewshot_bn.backbones.checkpoints.reading import fits, is_plain
from fewshot_bn.errors import ModelError, some

DEPTH = 5  # of entries within entries; VISSL has classy_state_dict.base_model.model.trunk
MOSTLY = 0.8  # of the tensors of a network
COUNTERS = "*.num_batches_tracked"
MOST_DROPPED = 6  # patterns; more would be no advice


@dataclass(frozen=True, slots=True)
class Fit:
    """Rules by which a checkpoint holds all weights of a network, and the keys of that entry that they leave out."""

    rules: KeyRules
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """The share of the tensors of a network that are there, and how the others differ."""

    share: float
    differs: tuple[str, ...]


def suggestion(content: Mapping[str, Any], network: nn.Module, may_lack: Sequence[str]) -> str:
    """As in `[keys] unwrap = "state_dict", prefix = "module."`, if all weights fit then; else nothing."""
    found = [fit.rules for fit in fits_of(content, network, may_lack) if _is_sound(content, fit)]
    if not found:
        return ""
    first, *others = found
    entries = [repr(rules.unwrap) for rules in others if rules.unwrap != first.unwrap]
    fronts = [repr(rules.prefix) for rules in others if rules.unwrap == first.unwrap]
    also = [f"the entry {some(entries)}"] * bool(entries) + [f"the prefix {some(fronts)}"] * bool(fronts)
    choice = f" (or {' or '.join(also)}, which fits as well)" if also else ""
    return f"[keys] {', '.join(in_lines(first))}{choice}"


def hindrance(content: Mapping[str, Any], network: nn.Module) -> str:
    """In what the entry that is most of the network differs from it, for the end of a message; else nothing."""
    near = max((nearest(tensors, network) for _, tensors in mappings(content)), key=lambda n: n.share, default=None)
    is_meant = near is not None and MOSTLY <= near.share < 1
    return f"; most of it would fit, but {some(near.differs)}" if near and is_meant else ""


def fits_of(content: Mapping[str, Any], network: nn.Module, may_lack: Sequence[str]) -> list[Fit]:
    """All rules by which names and shapes fit, outermost entry first. `network` may be on the meta device."""
    own, places = network.state_dict(), _places(network)
    return [
        Fit(KeyRules(unwrap=unwrap, prefix=prefix, drop=tuple(drop), rename=dict(rename)), tuple(others))
        for unwrap, tensors in mappings(content)
        for rename in ({}, places)
        for prefix, drop, others in _fronts(tensors, own, may_lack, rename)
    ]


def orders_of(content: Mapping[str, Any]) -> Iterator[tuple[KeyRules, list[tuple[str, torch.Size]]]]:
    """Every way to read tensors one after the other: the rules so far, and the keys with their shapes then."""
    entries = ["", *(key for key, value in content.items() if isinstance(value, Mapping)), *_deeper(content)]
    for unwrap in entries:
        rules = KeyRules(unwrap=unwrap, nested=True, in_order=True)
        try:
            found = entry_of(content, rules, unwrap)
        except ModelError:  # keys that are no names, as of an optimiser, or names with dots
            continue
        others = tuple(key for key, value in found.items() if not isinstance(value, Tensor))
        counters = (COUNTERS,) * any(fnmatchcase(key, COUNTERS) for key in found)
        if len(others) > MOST_DROPPED:
            continue
        for kernels in ("OIHW", "HWIO"):
            rules = KeyRules(unwrap, nested=True, drop=(*others, *counters), kernels=kernels, in_order=True)
            yield rules, [(key, value.shape) for key, value in tensors_of(content, rules, unwrap).items()]


def fit_in_order(
    order: tuple[KeyRules, list[tuple[str, torch.Size]]], network: nn.Module, may_lack: Sequence[str]
) -> Fit | None:
    """Whether the first tensors have the shapes of the network's, one by one; a few more at the end are left out."""
    rules, found = order
    own = [v.shape for k, v in network.state_dict().items() if not any(fnmatchcase(k, p) for p in may_lack)]
    more = [key for key, _ in found[len(own) :]]
    if [shape for _, shape in found[: len(own)]] != own or len(more) > MOST_DROPPED:
        return None
    return Fit(replace(rules, drop=(*rules.drop, *more)), tuple(more))


def nearest(tensors: Mapping[str, Tensor], network: nn.Module) -> Near:
    """How much of the network an entry holds, under the prefix that suits best."""
    own = network.state_dict()
    fronts = [prefix for prefix, _ in _prefixes(tensors, own).most_common(3)] or [""]
    return max((_near(tensors, prefix, own) for prefix in fronts), key=lambda near: near.share)


def _near(tensors: Mapping[str, Tensor], prefix: str, own: Mapping[str, Tensor]) -> Near:
    n_held = sum(_suits(tensors.get(prefix + key), value) for key, value in own.items())
    more = _more_within(tensors, prefix, own)
    other = [
        f"{prefix}{key} is {tuple(tensors[prefix + key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if prefix + key in tensors and tensors[prefix + key].shape != value.shape
    ]
    lacking = [f"{prefix}{key} is missing" for key in own if prefix + key not in tensors]
    differs = (*other, *lacking, *(f"{key} is more than it has" for key in more))
    return Near(n_held / max(1, len(own) + len(more)), differs)


def mappings(content: Mapping[str, Any], path: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The entries that hold tensors, by their path, outermost first."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for key, value in content.items():
        if depth and isinstance(key, str) and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            yield from mappings(value, f"{path}.{key}" if path else key, depth - 1)


def _deeper(content: Mapping[str, Any]) -> Iterator[str]:
    """The entries of entries that hold entries themselves."""
    for key, value in content.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        yield from (f"{key}.{k}" for k, v in inner if isinstance(v, Mapping))


def _fronts(
    tensors: Mapping[str, Tensor], network: Mapping[str, Tensor], may_lack: Sequence[str], rename: Mapping[str, str]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each prefix with which all weights fit, what is to be dropped then, and the keys which that leaves out."""
    written = {_written(key, rename): (key, value) for key, value in network.items()}
    own = {
        key: value
        for key, (name, value) in written.items()
        if not any(fnmatchcase(name, pattern) for pattern in may_lack)
    }
    for prefix in _prefixes(tensors, own):
        if not all(_suits(tensors.get(prefix + key), value) for key, value in own.items()):
            continue
        if _more_within(tensors, prefix, written):
            continue
        others = [key for key in tensors if not (key.startswith(prefix) and key.removeprefix(prefix) in written)]
        drop = _patterns(others, [prefix + key for key in own])
        if len(drop) <= MOST_DROPPED:
            yield prefix, drop, others


def _more_within(tensors: Mapping[str, Tensor], prefix: str, names: Collection[str]) -> list[str]:
    """The keys in layers of the network that it does not have, such as the shortcuts of another ResNet."""
    children = {name.partition(".")[0] for name in names if "." in name}
    rests = {key: key.removeprefix(prefix) for key in tensors if key.startswith(prefix)}
    return [k for k, rest in rests.items() if rest.partition(".")[0] in children and rest not in names]


def _suits(value: Tensor | None, own: Tensor) -> bool:
    return value is not None and value.shape == own.shape and fits(value, own)


def _is_sound(content: Mapping[str, Any], fit: Fit) -> bool:
    """Whether the weights that the rules take are finite."""
    tensors = dict(mappings(content))[fit.rules.unwrap]
    used = tensors.keys() - set(fit.left_out)
    return all(is_plain(tensors[key]) and bool(tensors[key].isfinite().all()) for key in used)


def _places(network: nn.Module) -> dict[str, str]:
    """What `nn.Sequential(*network.children())` makes of names, as rules of renaming: `0.` was `conv1.`."""
    children = enumerate(network.named_children())
    return {f"{place}.": f"{name}." for place, (name, child) in children if child.state_dict()}


def _written(key: str, rename: Mapping[str, str]) -> str:
    """How the file spells a key that is renamed so."""
    return next((old + key.removeprefix(new) for old, new in rename.items() if key.startswith(new)), key)


def _prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> "Counter[str]":
    """What stands before the network's first key, with how many of its own keys follow it."""
    first = next(iter(own), "")
    found = [key.removesuffix(first) for key in tensors if key.endswith(f".{first}") or key == first]
    return Counter({prefix: sum(prefix + key in tensors for key in own) for prefix in found})


def _patterns(others: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """As few patterns as name all `others` and nothing that is wanted: the shortest front of each, part by part."""
    patterns: dict[str, None] = {}
    for key in others:
        parts = key.split(".")
        fronts = [".".join(parts[:n]) + ".*" for n in range(1, len(parts))]
        free = (front for front in fronts if not any(fnmatchcase(other, front) for other in wanted))
        patterns[next(free, key)] = None
    return list(patterns)
