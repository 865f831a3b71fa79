"""The card of a dataset: `episodes/<name>/card.toml`, or a user's own file of the same form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fewshot_bn import paths
from fewshot_bn.cards import read_card
from fewshot_bn.datasets.dataset import Metric
from fewshot_bn.errors import DataError


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Facts of a dataset. `folders` are the places under a data root where its class folders may lie.

    `metric` is what many-shot work on it reports.
    """

    name: str
    title: str
    layout: Literal["folder", "digits"]
    licence: str
    source: str
    citation: str
    get: str
    classes: dict[str, int]
    folders: tuple[str, ...] = field(default=())
    metric: Metric = "top-1"

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or min(self.classes.values()) < 1:
            raise DataError(f"{self.name}: a card needs at least 2 classes, each of at least 1 image")
        if self.layout == "folder" and not self.folders:
            raise DataError(f"{self.name}: the card of a folder layout names its folders; '.' is the data root itself")

    @property
    def n_images(self) -> int:
        return sum(self.classes.values())


def shipped_cards() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.parent.name: path for path in sorted(paths.shipped("episodes").glob("*/card.toml"))}


def read_dataset_card(path: Path) -> DatasetCard:
    return read_card(path, DatasetCard, DataError)
