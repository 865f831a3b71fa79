"""What tasks and backbones are called where there are several, each by a name that no other has."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fewshot_bn.episodes.plan import sharing_parts
from fewshot_bn.files.atomic import digest
from fewshot_bn.results.folders import BackboneId
from fewshot_bn.results.key import Key
from fewshot_bn.results.result import drawn


def labels_of(backbones: Iterable[BackboneId]) -> dict[BackboneId, str]:
    """The name of each backbone, with its weights, or also its fingerprint, where others have the same name."""
    found = sorted(set(backbones))
    forms = (
        lambda one: one.name,
        lambda one: f"{one.name} ({one.weights})",
        lambda one: f"{one.name} ({one.weights}, {one.fingerprint[:8]})",
        lambda one: f"{one.name} ({one.weights}, {one.fingerprint})",
    )
    chosen: dict[BackboneId, str] = {}
    for form in forms:
        times = Counter([*map(form, found), *chosen.values()])
        chosen |= {one: form(one) for one in found if one not in chosen and times[form(one)] == 1}
    return {one: chosen[one] for one in found}


def task_names(keys: Mapping[str, Key]) -> dict[str, str]:
    """Of tasks by their digests; where two look alike, the beginning of the digest tells them apart."""
    names = {task: _name(key) for task, key in keys.items()}
    times = Counter(names.values())
    return {task: name if times[name] == 1 else f"{name} [{task[:8]}]" for task, name in names.items()}


def _name(key: Key) -> str:
    """E.g. `digits 5-way 5-shot, 15 queries, seed 0`."""
    name, shape, how = key["dataset"]["name"], key.get("shape"), key.get("episodes", {})
    if shape is None:
        split = key["split"]
        return f"{name} many-shot, {split['train']} training and {split['test']} test images, seed {key['seed']}"
    parts = [f"{name} {shape['n_way']}-way {shape['n_support']}-shot" if shape else name]
    parts += [f"{shape['n_query']} queries"] if shape else []
    parts += [f"{how['kind']} episodes"] if how.get("kind", "random") != "random" else []
    parts += sharing_parts(how) + (["by group"] if how.get("by_group") else [])
    return ", ".join([*parts, f"seed {key['seed']}"])


def order_of(key: Key) -> tuple[Any, ...]:
    """By which tasks are sorted: few-shot ones first, then by dataset, way, shots and queries."""
    shape = key.get("shape")
    sizes = [shape.get(part, 0) for part in ("n_way", "n_support", "n_query")] if shape else []
    return shape is None, key["dataset"]["name"], sizes, _name(key)


def stream_of(key: Key) -> str:
    """The same for tasks that differ in their shots alone, whose episodes have the same queries."""
    parts = drawn(key)
    shape = {part: n for part, n in parts.get("shape", {}).items() if part != "n_support"}
    return digest([json.dumps({**parts, "shape": shape}, sort_keys=True)])
