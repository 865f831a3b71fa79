"""What a pickle says, as tensors and plain containers: objects of other classes become dictionaries of what they hold.

An object with attributes becomes a dictionary of them; one made of values is counted, "0", "1", …; one made of a single
dictionary, or that is one, becomes that; one that is a list becomes a list. Sets become lists, names text. A module of
PyTorch or TorchScript becomes its `state_dict`, taken from its attributes. What holds itself is None there.

Raises: `ValueError` if the numbers of a tensor do not fit, or what is shared would be walked for ever.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fewshot_bn.backbones.checkpoints.rebuilt_tensors import TENSOR_MAKERS, Maker, first, storage
from fewshot_bn.backbones.checkpoints.unpickling import PERSISTENT, Made, Name

MOST_WALKED = 10_000_000  # values, each as often as it is met on a walk from the top
MOST_COPIED = 20_000_000  # bytes, on top of some for each byte of the file
HOLDERS = (Made, list, tuple, dict)
SCRIPT = "__torch__."
MODULE = {"_parameters", "_buffers", "_modules"}
LOADED = "torch.storage._load_from_bytes"  # how pickle itself, instead of torch.save, writes a storage


@dataclass(frozen=True, slots=True)
class Outside:
    """What a pickle refers to: the bytes of a storage, by its key; a file within the pickle. And how large all is."""

    storage: Callable[[str], bytes]
    file: Callable[[Any], Any]
    n_bytes: int


def in_order(root: Any) -> list[Any]:
    """Every holder below `root` once, after all that it holds. Raises `ValueError` if a walk would never end."""
    order: list[Any] = []
    sizes: dict[int, int] = {}
    todo = [(root, iter(_held(root)))] if isinstance(root, HOLDERS) else []
    met = {id(root)}
    while todo:
        holder, held = todo[-1]
        for value in held:
            if id(value) not in met:
                met.add(id(value))
                todo.append((value, iter(_held(value))))
                break
        else:
            todo.pop()
            order.append(holder)
            n_values = len(_parts(holder) if isinstance(holder, Made) else holder)
            sizes[id(holder)] = 1 + n_values + sum(sizes.get(id(value), 0) for value in _held(holder))
            if sizes[id(holder)] > MOST_WALKED:
                raise ValueError(f"what it shares would be met more than {MOST_WALKED:,} times")
    return order


def rebuilt(root: Any, order: list[Any], outside: Outside) -> Any:
    """What the pickle of `root` says; `order` is that of `in_order`."""
    copies = _Copies(4 * outside.n_bytes + MOST_COPIED)
    done: dict[int, Any] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, HOLDERS):
            return done.get(id(value))
        return value.text if isinstance(value, Name) else value

    for holder in order:
        if isinstance(holder, Made):
            done[id(holder)] = _object(holder, plain, outside, copies)
        elif isinstance(holder, dict):
            done[id(holder)] = {key: plain(value) for key, value in holder.items()}
        else:
            done[id(holder)] = type(holder)(plain(value) for value in holder)
    return plain(root)


class _Copies:
    """Counts what is copied: what a file shares would else become much more than the file."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def count(self, *parts: Any) -> None:
        self.left -= sum(len(part) if isinstance(part, str | bytes) else 10 * len(part) for part in parts)
        if self.left < 0:
            raise ValueError("what it shares would be copied more often than in any checkpoint")

    def flat(self, own: Mapping[Any, Any], modules: Mapping[Any, Any]) -> dict[str, Any]:
        """The tensors of a module and of those below it."""
        modules = {name: held for name, held in modules.items() if isinstance(held, dict)}
        self.count(own)
        for name, held in modules.items():
            self.left -= (len(str(name)) + 1) * len(held)
            self.count(held, *map(str, held))
        below = {f"{name}.{key}": value for name, held in modules.items() for key, value in held.items()}
        return {name: value for name, value in own.items() if isinstance(value, Tensor)} | below


def _held(holder: Any) -> list[Any]:
    if isinstance(holder, Made):
        return [value for value in _parts(holder) if isinstance(value, HOLDERS)]
    return [value for value in (holder.values() if isinstance(holder, dict) else holder) if isinstance(value, HOLDERS)]


def _parts(made: Made) -> list[Any]:
    return [*made.arguments, made.state, *made.items, *made.entries.values()]


def _object(made: Made, plain: Callable[[Any], Any], outside: Outside, copies: _Copies) -> Any:
    if made.name == PERSISTENT:
        return storage(plain(made.arguments[0]), outside.storage)
    arguments, state = tuple(map(plain, made.arguments)), plain(made.state)
    parts = (*arguments, *(state if isinstance(state, tuple) else (state,)))
    copies.count(made.arguments, *(part for part in parts if isinstance(part, str | bytes | list | tuple | dict)))
    if arguments and made.name == LOADED:
        return outside.file(arguments[0])
    if made.name in MAKERS:
        return MAKERS[made.name](arguments, state)
    if isinstance(state, dict):
        if made.name.startswith(SCRIPT):
            raw = {k: v for k, v in made.state.items() if isinstance(v, Made) and v.name.startswith(SCRIPT)}
            return copies.flat(state, {name: plain(module) for name, module in raw.items()})
        if state.keys() >= MODULE:
            return _module(state, copies)
    return _dictionary(made, arguments, state, plain)


def _module(state: Mapping[str, Any], copies: _Copies) -> dict[str, Any]:
    parts = [state[name] if isinstance(state[name], dict) else {} for name in ("_parameters", "_buffers", "_modules")]
    unsaved = state.get("_non_persistent_buffers_set") or ()
    buffers = {name: value for name, value in parts[1].items() if name not in unsaved}
    return copies.flat(parts[0] | buffers, parts[2])


def _dictionary(made: Made, arguments: tuple[Any, ...], state: Any, plain: Callable[[Any], Any]) -> Any:
    entries = {key: plain(value) for key, value in made.entries.items()}
    items = [plain(value) for value in made.items]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict) and not isinstance(state[0], tuple):
        attributes = {**(state[0] or {}), **state[1]} if isinstance(state[0] or {}, dict) else _counted(state)
    elif isinstance(state, dict):
        attributes = state
    else:
        attributes = _counted(state if isinstance(state, tuple) else () if state is None else (state,))
    if len(arguments) == 1 and isinstance(arguments[0], dict) and not attributes:
        return arguments[0] | entries
    if not entries and not attributes and (items or made.name in LISTS):
        return items or [value for argument in arguments[:1] for value in _listed(argument)]
    if made.name in DICTIONARIES:
        return {**_from_pairs(arguments), **entries}
    if entries:
        return {**_counted(arguments), **entries}
    return {**_counted(arguments), **attributes, **_counted(tuple(items))}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _from_pairs(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """What Python 2 makes an ordered dictionary of."""
    pairs = _listed(arguments[0]) if arguments else []
    pairs = [pair for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
    return {key: value for key, value in pairs if isinstance(key, str)}


def _counted(values: tuple[Any, ...]) -> dict[str, Any]:
    return {str(place): value for place, value in enumerate(values)}


def _bytes(arguments: tuple[Any, ...], _: Any) -> Any:
    """As pickles for Python 2 write them."""
    text = arguments[0] if arguments else b""
    return text.encode("latin1") if isinstance(text, str) and arguments[1:2] in (("latin1",), ("latin-1",)) else text


LISTS = {"collections.deque", "builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple"}
DICTIONARIES = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
MAKERS: dict[str, Maker] = {
    **TENSOR_MAKERS,
    "_codecs.encode": _bytes,
    **dict.fromkeys(("builtins.bytes", "builtins.bytearray"), _bytes),
    "torch.Size": first,
    **dict.fromkeys(("torch.jit._pickle.restore_type_tag", "torch.device"), first),
    **{f"torch.jit._pickle.build_{kind}list": first for kind in ("int", "double", "bool", "tensor")},
}
