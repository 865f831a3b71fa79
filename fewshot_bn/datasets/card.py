"""The card of a dataset: `episodes/<name>/card.toml`, or a user's own file of the same form."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fewshot_bn.datasets.dataset import Metric
from fewshot_bn.errors import DataError
from fewshot_bn.files import paths
from fewshot_bn.files.cards import read_card
from fewshot_bn.files.downloads import Download


@dataclass(frozen=True, slots=True)
class GroupTable:
    """A CSV file of its own, which may be missing, with the group of each image."""

    file: str
    image: str
    group: str

    def __post_init__(self) -> None:
        _check_below("groups.file", [self.file])


@dataclass(frozen=True, slots=True)
class Table:
    """CSV files that name images and their labels, and the columns that say what.

    `files` are names or patterns below the dataset's folder, `images` patterns of the folders that hold the images;
    without any, `image` is a path relative to the dataset's folder. An image has one label: those with several,
    separated by `separator`, are left out. With `one_hot` each class is a column, of which one is not 0. `suffix`
    completes the name of an image.
    """

    files: tuple[str, ...]
    images: tuple[str, ...] = ()
    image: str = "path"
    label: str = "label"
    group: str = ""
    split: str = ""
    separator: str = ""
    suffix: str = ""
    one_hot: bool = False
    groups: GroupTable | None = None

    def __post_init__(self) -> None:
        _check_below("csv.files", self.files)
        _check_below("csv.images", self.images)


@dataclass(frozen=True, slots=True)
class Shards:
    """Files that hold images and labels themselves: names or patterns, and what they call the image, label and group.

    Columns of Parquet; of WebDataset the ending of the image, and fields of the samples' JSON. What is empty is found.
    """

    files: tuple[str, ...] = ()
    image: str = ""
    label: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Facts of a dataset. `folders` are the places under a data root where its tree may lie.

    `classes` are its classes in the published order with their numbers of images; where those are not on the card,
    `n_classes` and `n_images` (0: not known) are. `get` is how to get it by hand, `downloads` what can be fetched.
    `group` says what images are grouped by, `groups_span_classes` whether one may hold images of several classes.
    `metric` is what many-shot work on it reports; preset cdfsl resizes to `first_resize_px` first, where it is not 0.
    In images of 16 bits per channel `max_value` is white, such as 4095 of a camera of 12 bits (0: the full range).
    `torchvision` names the class of torchvision that reads the layout of that name.
    """

    name: str
    title: str
    layout: Literal["folder", "digits", "csv", "torchvision", "parquet", "webdataset"]
    licence: str
    source: str
    citation: str
    get: str
    tree: str = ""
    classes: dict[str, int] = field(default_factory=dict)
    n_classes: int = 0
    n_images: int = 0
    folders: tuple[str, ...] = ()
    metric: Metric = "top-1"
    group: str = ""
    groups_span_classes: bool = False
    first_resize_px: int = 0
    max_value: int = 0
    note: str = ""
    csv: Table | None = None
    torchvision: str = ""
    parquet: Shards | None = None
    webdataset: Shards | None = None
    downloads: tuple[Download, ...] = ()

    def __post_init__(self) -> None:
        if self.classes:
            for name, value in (("n_classes", len(self.classes)), ("n_images", sum(self.classes.values()))):
                if getattr(self, name) not in (0, value):
                    raise DataError(f"{self.name}: {name} is {getattr(self, name)}, but its classes make {value}")
                object.__setattr__(self, name, value)
        unlikely = self.n_images != 0 and self.n_images < self.n_classes
        if self.n_classes < 2 or unlikely or min(self.classes.values(), default=1) < 1:
            raise DataError(f"{self.name}: a card needs at least 2 classes, each of at least 1 image")
        if not 0 <= self.max_value < 2**16:
            raise DataError(f"{self.name}: max_value is {self.max_value}; 1 to 65535, or 0 for all, is needed")
        _check_below(f"{self.name}: folders", [folder for folder in self.folders if Path(folder).parts])
        if self.layout != "digits" and not self.folders:
            raise DataError(f"{self.name}: a card names its folders, unless its images are embedded; '.' is the root")
        for layout in ("csv", "torchvision", "parquet", "webdataset"):
            if (self.layout == layout) != bool(getattr(self, layout)):
                raise DataError(f"{self.name}: the field {layout!r} belongs to layout {layout!r}, and has to be there")


def _check_below(where: str, places: Iterable[str]) -> None:
    """Cards come from anywhere: what they name lies in the folder of the data. Raises `DataError`."""
    for text in places:
        parts = Path(text).parts
        stars = any("**" in part and part != "**" for part in parts)
        if not parts or Path(text).anchor or ".." in parts or "\0" in text or stars:
            raise DataError(
                f"{where}: {text!r}: a path or pattern below the folder of the data is needed, not absolute, without "
                "'..', and with '**' only as a whole part"
            )


def shipped_cards() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.parent.name: path for path in sorted(paths.shipped("episodes").glob("*/card.toml"))}


def read_dataset_card(path: Path) -> DatasetCard:
    return read_card(path, DatasetCard, DataError)
