"""Libraries of networks, one record each: adding a library is its file and an entry here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fewshot_bn.backbones import torchvision
from fewshot_bn.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class Library:
    """How the networks of a library become backbones.

    `names` are those that it knows. `build` gives a network without its head, its weights a fixed draw, and the name of
    the head. `official_weights` gives name, tensors and preprocessing of the weights that are called so; None asks for
    those of the published tables. `preprocessing` is that of a network by default.
    """

    names: Callable[[], Sequence[str]]
    build: Callable[[str, Mapping[str, Any]], tuple[nn.Module, str]]
    official_weights: Callable[[str, str | None], tuple[str, Mapping[str, Tensor], Preprocessing]]
    preprocessing: Callable[[str], Preprocessing]


SOURCES: dict[str, Library] = {
    "torchvision": Library(
        torchvision.names, torchvision.build_headless, torchvision.official_weights, torchvision.official_preprocessing
    ),
}


def split_name(model: str) -> tuple[str, str]:
    """The library and the network that `library:network` names; without a library, of the first that knows it.

    The library is "" where there is none.
    """
    library, colon, name = model.partition(":")
    if colon:
        return (library, name) if library in SOURCES else ("", model)
    return next((library for library, source in SOURCES.items() if model in source.names()), ""), model


def all_names() -> list[str]:
    """The networks of all libraries."""
    return [name for source in SOURCES.values() for name in source.names()]
