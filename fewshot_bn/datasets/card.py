"""The card of a dataset: `episodes/<name>/card.toml`, or a user's own file of the same form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fewshot_bn import paths
from fewshot_bn.cards import read_card
from fewshot_bn.errors import DataError


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Facts of a dataset. `folders` are the places under a data root where its class folders may lie."""

    name: str
    title: str
    layout: Literal["folder", "digits"]
    licence: str
    source: str
    citation: str
    get: str
    classes: dict[str, int]
    folders: tuple[str, ...] = field(default=())

    @property
    def n_images(self) -> int:
        return sum(self.classes.values())


def shipped_cards() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.parent.name: path for path in sorted(paths.shipped("episodes").glob("*/card.toml"))}


def read_dataset_card(path: Path) -> DatasetCard:
    return read_card(path, DatasetCard, DataError)
