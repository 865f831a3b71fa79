"""Damage to bytes, and hostile values in place of parts of a tree of plain values: each a function of a generator."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Tree = Any  # dicts, lists, texts, numbers, truth values, None
NUMBERS = (0, -1, 1, 7, 2**16, 2**31, 2**32, 2**63, -(2**63), 10**30, 10**400, 1.5, -0.0, 1e-320, 1e308)
ODD_NUMBERS = (math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    " ",
    "x",
    "\0",
    "\ud800",
    "ä\u202e",
    "x" * 100_000,
    "**",
    "[",
    "{}",
    "%s",
    "1e9",
    "\\",
    "a/b",
    "\n",
    ".",
    "*",
)
PATHS = (
    "/etc/passwd",
    "../../etc/passwd",
    "/dev/zero",
    "/",
    "~",
    "C:\\x",
    "file:///etc/passwd",
    "a/../..",
    "/" + "x" * 5000,
)


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """With one to three places flipped, overwritten, inserted, cut out, doubled or cut off."""
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, len(content) + 1))
        stop = min(len(content), start + int(2 ** rng.uniform(0, 8)))
        noise = rng.integers(0, 256, int(2 ** rng.uniform(0, 6)), np.uint8).tobytes()
        match rng.integers(0, 8):
            case 0:
                bit = bytes([content[start] ^ 1 << int(rng.integers(0, 8))]) if start < len(content) else b""
                content = content[:start] + bit + content[start + 1 :]
            case 1:
                content = content[:start] + noise + content[start + len(noise) :]
            case 2:
                content = content[:start] + noise + content[start:]
            case 3:
                content = content[:start] + content[stop:]
            case 4:
                content = content[:stop] + content[start:]
            case 5:
                content = content[:start]
            case 6:
                content = content[:start] + (b"\xff" if rng.random() < 0.5 else b"\0") * (stop - start) + content[stop:]
            case 7:
                content = content[:start] + content[stop:] + content[start:stop]
    return content


def digit_changed(rng: np.random.Generator, content: bytes) -> bytes:
    """With another digit in place of one: the text stays well-formed, a number changes."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    place = places[rng.integers(len(places))]
    digit = 48 + (content[place] - 48 + rng.integers(1, 10)) % 10
    return content[:place] + bytes([digit]) + content[place + 1 :]


def hostile(rng: np.random.Generator, tree: Tree) -> Tree:
    """A copy in which one or two values, wherever they lie, are replaced, taken out, doubled or exchanged."""
    whole = [copy.deepcopy(tree)]
    for _ in range(rng.integers(1, 3)):
        places = list(_places(whole))
        holder, key = places[rng.integers(len(places))]
        match rng.integers(0, 10):
            case 0 if holder is not whole:
                del holder[key]
            case 1 if isinstance(holder, list) and holder is not whole:
                holder.insert(key, copy.deepcopy(holder[key]))
            case 2 if isinstance(holder, dict):
                holder[_pick(rng, (*TEXTS, *PATHS))] = holder.pop(key)
            case 3:
                other, name = places[rng.integers(len(places))]
                holder[key] = copy.deepcopy(other[name])
            case _:
                holder[key] = _value(rng, holder[key])
    return whole[0]


def as_json(tree: Tree) -> bytes:
    return json.dumps(tree).encode()


def as_toml(tree: Tree) -> bytes:
    if not isinstance(tree, dict):
        return _toml(tree).encode("utf-8", "surrogatepass")
    lines = [f"{json.dumps(key)} = {_toml(value)}\n" for key, value in tree.items()]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _toml(value: Tree) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or value.isprintable())


def _places(tree: Tree) -> Iterator[tuple[Tree, Any]]:
    """Every holder and key of a value, the whole first."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _pick(rng: np.random.Generator, choices: tuple[Any, ...]) -> Any:
    return choices[rng.integers(len(choices))]


def _value(rng: np.random.Generator, old: Tree) -> Tree:
    """One of the same kind in half of the cases, else one of any kind."""
    same = rng.random() < 0.5
    if same and isinstance(old, int | float) and not isinstance(old, bool):
        return _pick(rng, (*NUMBERS, *ODD_NUMBERS, -old, old + 1, old / 2 if abs(old) < 2**60 else 0))
    if same and isinstance(old, str):
        return _pick(rng, (*TEXTS, *PATHS, old * 2, old.upper(), old[:1]))
    if same and isinstance(old, list):
        return _pick(rng, ([], old * 2, old[::-1], old * 3000 if len(old) < 9 else old, [old]))
    return _pick(
        rng, (None, True, [], {}, [[]], {"": {}}, _nested(int(2 ** rng.uniform(0, 17))), *NUMBERS, *ODD_NUMBERS, *TEXTS)
    )


def _nested(depth: int) -> Tree:
    """Not so deep that json and repr give up before they have written it."""
    tree: Tree = []
    for _ in range(min(depth, 300)):
        tree = [tree]
    return tree
