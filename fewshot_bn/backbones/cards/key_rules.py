"""The rules of a card for the keys of a checkpoint; keys.py follows them. Quick to import, as cards are."""

from dataclasses import dataclass, field
from typing import Literal

from fewshot_bn.errors import ModelError


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How the keys of a checkpoint become the keys of a network, in this order.

    `unwrap` is the entry that holds the tensors ("a.b" for an entry of an entry). With `nested`, entries within entries
    are taken as one, their keys joined by dots. `drop` are patterns of (original) keys to leave out, such as heads;
    `prefix` is taken off every other key, and keys without it are an error.

    `rename` then replaces the beginning of each key: of the entries that it begins with only one, the one of most
    characters. A "*" stands for some characters without dot or slash; each "*" of the new beginning is filled in turn.
    Keys that begin with none stay as they are. `endings` replaces the ends of keys likewise, without stars.

    `kernels` of HWIO, as in JAX and TensorFlow, are turned: convolutions [h w in out] and linear layers [in out]; what
    norm layers have as [1 1 1 c] becomes [c].
    With `in_order`, names do not count: the tensors are those of the network in the order of its own keys.
    `may_lack` are patterns of network keys that need not be there.
    """

    unwrap: str = ""
    nested: bool = False
    drop: tuple[str, ...] = ()
    prefix: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)
    kernels: Literal["OIHW", "HWIO"] = "OIHW"
    in_order: bool = False
    may_lack: tuple[str, ...] = ("*.num_batches_tracked",)

    def __post_init__(self) -> None:
        for old, new in self.rename.items():
            if not old or "**" in old or new.count("*") > old.count("*"):
                raise ModelError(
                    f"rename: {old!r} to {new!r}: the beginning of a key is needed, in which each * stands for some "
                    "characters without dot or slash, and no more of them in the new than in the old"
                )
        if "" in self.endings:
            raise ModelError("endings: '' is no end of a key")
        if self.in_order and (self.rename or self.endings):
            raise ModelError("in_order: names do not count then; take rename and endings off, or in_order")
