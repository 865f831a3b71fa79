"""Where the tree of a card lies under a data root: in one of the folders that it names, or, if it is clear, elsewhere.

People unpack archives under other names, and keep resized copies; what is looked for then are the card's own classes,
tables and images.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path, PurePosixPath

from fewshot_bn.datasets.card import DatasetCard, Table, read_dataset_card, shipped_cards
from fewshot_bn.datasets.csv_table import has_columns
from fewshot_bn.datasets.parquet import SUFFIX as PARQUET
from fewshot_bn.datasets.shards import kind_of_shards
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.datasets.torchvision_sets import has_tree
from fewshot_bn.datasets.tree import class_folders, is_ignored
from fewshot_bn.datasets.webdataset import SUFFIX as TAR
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.archives import READERS

DEPTH, MOST_FOLDERS, MOST_NAMES = 4, 500, 5_000  # how far is looked
SHARE = 0.5  # of the classes of a card, from which on a folder is taken for its tree
# Versions of a dataset that are not the one of its card, where that lies beside them.
VARIANT = re.compile(
    r"(?:^|[/ _.-])(?:ms|multispectral|all_?bands|tiff?|gr[ae]y(?:scale)?|segmented)(?:$|[/ _.-])", re.I
)


@dataclass(frozen=True, slots=True)
class Place:
    """A card that has a tree under `root`, its file, the folder of the tree, and its table as it lies there."""

    card: DatasetCard
    path: Path
    root: Path
    folder: Path
    table: Table | None = None

    @property
    def is_expected(self) -> bool:
        """Whether it is one of the folders that the card names."""
        return self.folder in [self.root / folder for folder in self.card.folders]


def find_place(path: Path, root: Path) -> Place:
    """Of the card in the file `path`, or of another shipped card of the same name. Raises `DataError`."""
    card, cards = read_dataset_card(path), forms_of(path)
    for one, other in cards.items():
        for folder in other.folders:
            if (root / folder).is_dir() and _is_tree(other, root / folder):
                return Place(other, one, root, root / folder, other.csv)
    found = next(filter(None, (_elsewhere(other, one, root) for one, other in cards.items())), [])
    if len(found) > 1:
        where = some(sorted(place.folder.relative_to(root).as_posix() for place in found), 8)
        raise DataError(
            f"{card.name}: its tree is not in its place, and may be any of {where} in {root}; give the right one "
            f"as --data-root, or move it to {root / card.folders[0]}"
        )
    if found:
        return found[0]
    raise DataError(_nothing(card, root))


def forms_of(path: Path) -> dict[Path, DatasetCard]:
    """The card in the file `path`, and those of the same data in the form in which others give it."""
    paths = [path, *sorted(path.parent.glob("*.toml"))] if path in shipped_cards().values() else [path]
    return {one: read_dataset_card(one) for one in dict.fromkeys(paths)}


def find_tree(card: DatasetCard, root: Path) -> Path:
    """The folder under the data root `root`, of those on the card, that holds its tree. Raises `DataError`."""
    for folder in card.folders:
        if (root / folder).is_dir() and _is_tree(card, root / folder):
            return root / folder
    raise DataError(_nothing(card, root))


def _nothing(card: DatasetCard, root: Path) -> str:
    looked = ", ".join(str(root / folder) for folder in card.folders)
    can_fetch = card.downloads and card.name in shipped_cards()
    fetch = f"python -m fewshot_bn.data fetch {card.name} --data-root {root}, or by hand: " if can_fetch else ""
    packed = sorted(name for name in _names(root).files if name.lower().endswith(tuple(READERS)))
    there = f"{root} holds {some(packed)}, to be unpacked if that is it. " if packed else ""
    return (
        f"{card.name}: no data found; looked in {looked}. {there}Expected tree: {card.tree} below the data root "
        f"{root}. How to get it: {fetch}{card.get} Then name its data root with --data-root or FEWSHOT_BN_DATA. "
        "To try the tool now, run it without --dataset: the embedded digits need no download"
    )


def _is_tree(card: DatasetCard, folder: Path) -> bool:
    if card.csv:
        return any(path.is_file() for file in card.csv.files for path in folder.glob(file))
    if card.layout == "torchvision":
        return has_tree(card, folder)
    if shards := card.parquet or card.webdataset:
        found = (path.is_file() for pattern in shards.files for path in folder.glob(pattern))
        return any(found) if shards.files else bool(kind_of_shards(folder, [PARQUET if card.parquet else TAR]))
    return not card.classes or not card.classes.keys().isdisjoint(class_folders(folder))


def _elsewhere(card: DatasetCard, path: Path, root: Path) -> list[Place]:
    """Where the tree of a shipped card may lie under other names; of several places those that fit best."""
    if path.parent not in [shipped.parent for shipped in shipped_cards().values()] or not root.is_dir():
        return []
    places: list[Place] = []
    for folder, names in _folders(root):
        if card.layout == "folder" and card.classes and len(card.classes.keys() & names.folders) >= _enough(card):
            places.append(Place(card, path, root, folder))
        elif card.csv and (table := _table_in(card, card.csv, folder, names)):
            places.append(Place(card, path, root, folder, table))
    usual = [place for place in places if not VARIANT.search(place.folder.relative_to(root).as_posix())]
    wanted = {PurePosixPath(folder).name for folder in card.folders if split_number(PurePosixPath(folder).name) >= 0}
    of_split = [place for place in usual if place.folder.name in wanted]
    return of_split or usual or places


def _enough(card: DatasetCard) -> float:
    return max(2, SHARE * len(card.classes))


def _table_in(card: DatasetCard, table: Table, folder: Path, names: "Names") -> Table | None:
    """The table as it lies in this folder, with the columns that it needs; None where there is none."""
    patterns = {PurePosixPath(pattern).name for pattern in table.files}
    files = sorted(name for name in names.files if any(fnmatch(name, pattern) for pattern in patterns))
    fitting = [name for name in files if has_columns(folder / name, table, tuple(card.classes))]
    return replace(table, files=tuple(re.sub(r"([*?[])", r"[\1]", name) for name in fitting)) if fitting else None


@dataclass(frozen=True, slots=True)
class Names:
    """What a folder holds, by its first names."""

    folders: frozenset[str]
    files: frozenset[str]


def _folders(root: Path) -> Iterator[tuple[Path, Names]]:
    """The folders below a data root that are not too deep, with their names; only the first of very many."""
    level = [root]
    n = 0
    for _ in range(DEPTH + 1):
        inner: list[Path] = []
        for folder in level:
            n += 1
            if n > MOST_FOLDERS:
                return
            names = _names(folder)
            yield folder, names
            inner += [folder / name for name in sorted(names.folders)]
        level = inner


def _names(folder: Path) -> Names:
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, MOST_NAMES):
                if not is_ignored(entry.name):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError:  # closed, or a link that leads in circles
        pass
    return Names(frozenset(folders), frozenset(files))
