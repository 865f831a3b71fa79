"""Libraries of networks, one record each: adding a library is its file and an entry here."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fewshot_bn.backbones.libraries import timm, torchvision
from fewshot_bn.errors import UsageError
from fewshot_bn.preprocessing import Preprocessing

AT = re.compile(r"(?P<name>.+)@(?P<weights>[\w.-]+)")  # no @ of a path: a file or a name stands at its end


def _as_named(name: str, weights: str | None) -> tuple[str, str | None]:
    return name, weights


def _not_at_all(content: Mapping[str, Any], network: nn.Module) -> None:
    del content, network


@dataclass(frozen=True, slots=True)
class Library:
    """How the networks of a library become backbones.

    `names` are those that it knows. `build` gives a network without its head, its weights a fixed draw, and the names
    of the layers that are its head. `official_weights` gives name and tensors of the weights that are called so; None
    asks for those of the published tables. `preprocessing` is that of a network with these weights, or by default.

    Networks of a library with `needs_prefix` are only asked for as `library:name`, and nothing else imports it.
    `named` turns a network and its weights into the names that the other functions take. `converted` is what the
    library itself makes of a checkpoint that does not fit as it is, or None, and `converts` what does it.
    """

    names: Callable[[], Sequence[str]]
    build: Callable[[str, Mapping[str, Any]], tuple[nn.Module, tuple[str, ...]]]
    official_weights: Callable[[str, str | None], tuple[str, Mapping[str, Tensor]]]
    preprocessing: Callable[[str, str | None], Preprocessing]
    needs_prefix: bool = False
    named: Callable[[str, str | None], tuple[str, str | None]] = _as_named
    converted: Callable[[Mapping[str, Any], nn.Module], Mapping[str, Any] | None] = _not_at_all
    converts: str = ""


SOURCES: dict[str, Library] = {
    "torchvision": Library(
        torchvision.names, torchvision.build_headless, torchvision.official_weights, torchvision.official_preprocessing
    ),
    "timm": Library(
        timm.names,
        timm.build_headless,
        timm.official_weights,
        timm.official_preprocessing,
        needs_prefix=True,
        named=timm.named,
        converted=timm.converted,
        converts="timm's checkpoint_filter_fn",
    ),
}


def split_name(model: str) -> tuple[str, str]:
    """The library and the network that `library:network` names; without a library, of the first that knows it.

    The library is "" where there is none.
    """
    library, colon, name = model.partition(":")
    if colon:
        return (library, name) if library in SOURCES else ("", model)
    return next((library for library, source in _by_name() if model in source.names()), ""), model


def all_names() -> list[str]:
    """The networks that need no name of a library."""
    return [name for _, source in _by_name() for name in source.names()]


def _by_name() -> list[tuple[str, Library]]:
    return [(library, source) for library, source in SOURCES.items() if not source.needs_prefix]


def split_weights(model: str, weights: str | None) -> tuple[str, str | None]:
    """The two parts of `NAME@WEIGHTS`. Raises `UsageError` where `weights` says something else."""
    found = AT.fullmatch(model)
    if found is None or Path(model).suffix == ".toml":
        return model, weights
    if weights not in (None, found["weights"]):
        raise UsageError(f"{model}: asks for the weights {found['weights']}, --weights for {weights}; give one of them")
    return found["name"], found["weights"]
