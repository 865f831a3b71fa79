"""Pickles, read so that nothing in them runs: what they ask for becomes records of its name and what it is made of.

Nothing is imported, called or looked up. Python's own parser of pickles (pickletools) gives the steps, a table says
what each does to a stack. A subclass of `pickle.Unpickler` would be as long: a third of its steps call or look up
something and would each need to be replaced, and a forgotten one is a hole; here a step that is not in the table is
refused.

Raises: `ValueError` if a pickle is damaged, or larger inside than any checkpoint.
"""

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_STEPS = 5_000_000  # a ResNet-50 with the state of its optimizer takes 20,000
MOST_HOLDERS = 2_000_000  # lists, dictionaries, objects, references: up to 200 bytes each, for one byte in the file
MOST_DIGITS = 10_000  # binary ones, of a number
MOST_LETTERS = 1_000  # of a name; each is a text of its own
MOST_IN_TUPLE = 1_000  # values, as often as tuples within it show them; those that make a tensor have about 30
PERSISTENT = "persistent"  # the name of what lies outside of the pickle, such as the numbers of a tensor
PLAIN = (str, bytes, int, float, bool, type(None))


@dataclass(slots=True, eq=False)
class Name:
    """A class or function that a pickle asks for."""

    text: str


@dataclass(slots=True, eq=False, repr=False)  # what it holds may hold it
class Made:
    """What a pickle wants to be made: by which class or function, of what, and what is put into it afterwards."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class _Machine:
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)  # the stacks under each mark
    memo: dict[int, Any] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    sizes: dict[int, int] = field(default_factory=dict)  # of tuples; of living ones only

    def since_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.below.pop()
        return found

    def named(self, module: str, name: str) -> Name:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))  # of Python 2
        if len(module) + len(name) > MOST_LETTERS:
            raise ValueError(f"it asks for a name of {len(module) + len(name):,} letters")
        self.names.add(f"{module}.{name}")
        return Name(f"{module}.{name}")

    def tuple_of(self, values: list[Any]) -> tuple[Any, ...]:
        """A large one is noted among the names, so that torch.load, which may hash it for ever, is not used."""
        made = tuple(values)
        size = 1 + sum(self.sizes[id(value)] if isinstance(value, tuple) else 1 for value in made)
        self.sizes[id(made)] = min(size, MOST_IN_TUPLE)
        self.names |= {"a large tuple"} if size > MOST_IN_TUPLE else set()
        return made


def read_pickle(file: Any) -> tuple[Any, set[str]]:
    """What a pickle says, and the names that it asks for. Raises `ValueError`; reads nothing after its end."""
    machine, holders = _Machine(), 0
    try:
        for step, (code, value, _) in enumerate(pickletools.genops(file)):
            if step == MOST_STEPS or holders > MOST_HOLDERS:
                raise ValueError(f"it holds more than {MOST_HOLDERS:,} lists or {MOST_STEPS:,} values")
            holders += code.name in HOLDERS
            if code.name in VALUES:
                machine.stack.append(value)
            elif do := STEPS.get(code.name):
                do(machine, value)
            else:
                raise ValueError(f"{code.name} is no step of a pickle of tensors")
        return machine.stack.pop(), machine.names
    except (IndexError, KeyError, AttributeError, TypeError, OverflowError, MemoryError) as problem:
        raise ValueError(f"the pickle is damaged: {problem}") from problem


def _put(entries: Any, items: list[Any]) -> dict[Any, Any]:
    """Other keys than plain ones are never hashed, which may take for ever, but counted."""
    if not isinstance(entries, dict) or len(items) % 2:
        raise ValueError("entries without values, or put into something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        name = key.text if isinstance(key, Name) else key
        entries[name if isinstance(name, PLAIN) else f"{type(name).__name__} {len(entries)}"] = value
    return entries


def _fill(machine: _Machine, items: list[Any]) -> None:
    holder = machine.stack[-1]
    _put(holder.entries if isinstance(holder, Made) else holder, items)


def _extend(machine: _Machine, items: list[Any]) -> None:
    holder = machine.stack[-1]
    kept = holder.items if isinstance(holder, Made) else holder
    if not isinstance(kept, list):
        raise TypeError("items are put into something that is no list")
    kept.extend(items)


def _make(machine: _Machine, maker: Any, arguments: Any, entries: Any = None) -> None:
    """The maker is a name, or was itself made, as dill does with classes, and then has no name."""
    if not isinstance(maker, Name | Made) or not isinstance(arguments, tuple) or not isinstance(entries or {}, dict):
        raise TypeError("something is made by what is no class, or of what is no list of arguments")
    machine.stack.append(Made(maker.text if isinstance(maker, Name) else "", arguments, entries=entries or {}))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, maker = machine.stack.pop(), machine.stack.pop()
    _make(machine, maker, arguments)


def _reduce_with_names(machine: _Machine, _: Any) -> None:
    entries, arguments, maker = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    _make(machine, maker, arguments, entries)


def _object(machine: _Machine, _: Any) -> None:
    maker, *arguments = machine.since_mark()
    _make(machine, maker, tuple(arguments))


def _instance(machine: _Machine, name: str) -> None:
    _make(machine, _global(machine, name), tuple(machine.since_mark()))


def _global(machine: _Machine, name: str) -> Name:
    module, _, last = name.partition(" ")
    return machine.named(module, last)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("a name is no text")
    machine.stack.append(machine.named(module, name))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.stack.pop()
    if not isinstance(machine.stack[-1], Made):
        raise TypeError("a state is put into something that has none")
    machine.stack[-1].state = state


def _outside(key: Any) -> Name | Made:
    """Files before torch 1.6 refer so to a class as well, with its source code."""
    if isinstance(key, tuple) and key[:1] == ("module",) and len(key) > 1 and isinstance(key[1], Name):
        return key[1]
    return Made(PERSISTENT, (key,))


def _long(machine: _Machine, value: int) -> None:
    if value.bit_length() > MOST_DIGITS:
        raise ValueError(f"a number has {value.bit_length():,} binary digits")
    machine.stack.append(value)


def _mark(machine: _Machine, _: Any) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.since_mark()


def _remember(machine: _Machine, value: Any) -> None:
    machine.memo[len(machine.memo) if value is None else value] = machine.stack[-1]


def _pushed(make: Callable[[_Machine, Any], Any]) -> Callable[[_Machine, Any], None]:
    def push(machine: _Machine, value: Any) -> None:
        made = make(machine, value)  # may change the stack
        machine.stack.append(made)

    return push


def _last(n: int) -> Callable[[_Machine, Any], None]:
    def tuple_of_last(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < n:
            raise ValueError("a list of arguments is too short")
        machine.stack[-n:] = [machine.tuple_of(machine.stack[-n:])]

    return tuple_of_last


def _nothing(*_: Any) -> None: ...


VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
HOLDERS = {
    *("EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "EMPTY_SET", "FROZENSET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "GLOBAL", "STACK_GLOBAL", "PERSID", "BINPERSID", "MARK"),
}
STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("LONG", "LONG1", "LONG4"), _long),
    "NONE": _pushed(lambda *_: None),
    "NEWTRUE": _pushed(lambda *_: True),
    "NEWFALSE": _pushed(lambda *_: False),
    "EMPTY_TUPLE": _pushed(lambda machine, _: machine.tuple_of([])),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), _pushed(lambda *_: [])),
    "EMPTY_DICT": _pushed(lambda *_: {}),
    **dict.fromkeys(("LIST", "FROZENSET"), _pushed(lambda machine, _: machine.since_mark())),
    "TUPLE": _pushed(lambda machine, _: machine.tuple_of(machine.since_mark())),
    "DICT": _pushed(lambda machine, _: _put({}, machine.since_mark())),
    **{f"TUPLE{n}": _last(n) for n in (1, 2, 3)},
    "APPEND": lambda machine, _: _extend(machine, [machine.stack.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: _extend(machine, machine.since_mark())),
    "SETITEM": lambda machine, _: _fill(machine, [machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: _fill(machine, machine.since_mark()),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": lambda machine, _: _nothing(machine.since_mark()),
    "DUP": _pushed(lambda machine, _: machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _pushed(lambda machine, place: machine.memo[place])),
    "GLOBAL": _pushed(_global),
    "STACK_GLOBAL": _stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    "NEWOBJ_EX": _reduce_with_names,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": _build,
    "PERSID": _pushed(lambda _, value: Made(PERSISTENT, (value,))),
    "BINPERSID": _pushed(lambda machine, _: _outside(machine.stack.pop())),
}
