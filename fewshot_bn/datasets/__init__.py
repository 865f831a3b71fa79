"""Datasets: a name on a card, a user's own card, or files of one of the forms below, opened as a `Dataset`.

An image folder with one subfolder per class; a CSV table of paths and labels; a plain list `IMG_NAME CLASS_NUMBER`;
arrays in an HDF5 or NPZ file, or in two NPY files; Parquet files of the Hugging Face hub; tar files of WebDataset or of
class folders; or `file.py:name`, whatever a Python file of the user's own gives.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fewshot_bn.datasets.arrays import SUFFIXES, open_arrays
from fewshot_bn.datasets.card import DatasetCard, read_dataset_card, shipped_cards
from fewshot_bn.datasets.csv_table import open_csv, open_table
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.digits import open_digits
from fewshot_bn.datasets.folder import open_class_folders, open_folder
from fewshot_bn.datasets.looks import Scaled
from fewshot_bn.datasets.name_list import open_list
from fewshot_bn.datasets.own import dataset_of_files, open_own
from fewshot_bn.datasets.packed import OTHERS, advice_on
from fewshot_bn.datasets.parquet import SUFFIX as PARQUET
from fewshot_bn.datasets.parquet import open_parquet
from fewshot_bn.datasets.places import Place, find_place, find_tree, forms_of
from fewshot_bn.datasets.publisher_lists import with_official_split
from fewshot_bn.datasets.shards import kind_of_shards
from fewshot_bn.datasets.torchvision_sets import open_torchvision
from fewshot_bn.datasets.tree import class_folders
from fewshot_bn.datasets.webdataset import SUFFIX as TAR
from fewshot_bn.datasets.webdataset import open_tar
from fewshot_bn.errors import DataError, UsageError, some, unknown
from fewshot_bn.files import paths
from fewshot_bn.files.atomic import digest
from fewshot_bn.files.own_code import is_own

__all__ = [
    "Dataset",
    "DatasetCard",
    "Finding",
    "card_of",
    "dataset_of_files",
    "differences",
    "find_place",
    "find_tree",
    "forms_of",
    "open_dataset",
    "read_dataset_card",
    "shipped_cards",
]

FILES: dict[str, Callable[[Path], Dataset]] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".txt": open_list,
    **dict.fromkeys(SUFFIXES, open_arrays),
    PARQUET: open_parquet,
    TAR: open_tar,
}
SHARDS: dict[str, Callable[[Path], Dataset]] = {TAR: open_tar, PARQUET: open_parquet}  # what comes first counts


def open_dataset(name: str, *, root: Path | None = None, strict: bool = False, faulty: bool = False) -> Dataset:
    """Open the dataset `name`: a shipped card, or the path of a card, of an image folder or of a file as above.

    `root` is the data root that holds the trees of carded datasets. With `strict`, anything that a notice would be
    given for is a `DataError`; so is a problem, unless the dataset may be `faulty`. An unknown name is a `UsageError`
    that lists what is known.
    """
    card = card_of(name)
    dataset = _open_path(name) if card is None else _open_card(card, paths.data_root() if root is None else root)
    if dataset.problems and not faulty:
        more = f" (and {len(dataset.problems) - 1} more problems)" if len(dataset.problems) > 1 else ""
        where = f" --data-root {root}" if root else ""
        raise DataError(f"{dataset.problems[0]}{more}; python -m fewshot_bn.data verify {name}{where} lists everything")
    if strict and dataset.notices:
        raise DataError(f"{dataset.notices[0]}; --strict takes only exactly what the card says")
    return dataset


def card_of(name: str) -> Path | None:
    """The card of this name or path; None where it names no card but files."""
    path = Path(name)
    if path.suffix == ".toml" and _is(path.is_file):
        return path
    known = shipped_cards()
    return known.get(name) or (None if _is(path.exists) else known.get(name.lower()))


def _is(question: Callable[[], bool]) -> bool:
    """Its answer; False for a name that no file can have, or one in a closed folder."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _open_path(name: str) -> Dataset:
    if is_own(name):
        return open_own(name)
    path = Path(name)
    if _is(path.is_dir):
        return _open_folder(path)
    if _is(path.is_file):
        if path.suffix.lower() not in FILES:
            if advice := advice_on(path):
                raise DataError(advice)
            raise DataError(f"{name}: a file of images is one of {', '.join(FILES)}, or a card (.toml)")
        return FILES[path.suffix.lower()](path)
    if len(path.parts) > 1 or path.suffix.lower() in FILES:
        raise DataError(f"{name}: there is no image folder, card (.toml) or file ({', '.join(FILES)}) of this name")
    raise UsageError(
        f"{unknown('dataset', name, shipped_cards())}, or give the path of an image folder, a CSV table, a list, an "
        "array file or a card (.toml)"
    )


def _open_folder(path: Path) -> Dataset:
    """Shards, or else class folders."""
    try:
        return SHARDS.get(kind_of_shards(path, tuple(SHARDS)), open_folder)(path)
    except DataError as problem:
        if advice := advice_on(path, kind_of_shards(path, tuple(OTHERS))):
            raise DataError(advice) from problem
        raise


def _open_card(path: Path, root: Path) -> Dataset:
    card = read_dataset_card(path)
    if card.layout == "digits":
        dataset = open_digits(card)
    else:
        place = find_place(path, root)
        card, path, dataset = place.card, place.path, _open_layout(place)
        dataset = with_official_split(dataset, card.name, place.folder)
        if not place.is_expected:
            where = Finding(f"{card.name}: its tree was found in {place.folder}")
            dataset = replace(dataset, notices=(where, *dataset.notices))
    if card.max_value:
        stamp = digest([dataset.stamp, card.max_value])
        dataset = replace(dataset, read=Scaled(dataset.read, card.max_value), stamp=stamp)
    return replace(
        dataset,
        card=digest([path.read_bytes()]),
        n_on_card=card.n_images or None,
        metric=card.metric,
        first_resize_px=card.first_resize_px,
        notices=(*dataset.notices, *differences(card, dataset)),
    )


def _open_layout(place: Place) -> Dataset:
    card, folder = place.card, place.folder
    if card.layout == "torchvision":
        return open_torchvision(card, folder)
    if card.parquet:
        return open_parquet(folder, card.name, card.parquet, tuple(card.classes))
    if card.webdataset:
        return open_tar(folder, card.name, card.webdataset, tuple(card.classes))
    if place.table:
        return open_table(card.name, folder, place.table, tuple(card.classes), within=place.root)
    dataset = open_class_folders(card.name, folder, tuple(card.classes))
    extra = sorted(set(class_folders(folder)) - set(dataset.class_names)) if card.classes else []
    if extra:
        notice = Finding(f"{card.name}: folders that are no class of the card were left out: {some(extra)}")
        dataset = replace(dataset, notices=(*dataset.notices, notice))
    return dataset


def differences(card: DatasetCard, dataset: Dataset) -> Iterator[Finding]:
    """Where the classes and numbers of images are not those of the card."""
    sizes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
    wrong = [f"{k} {sizes.get(k, 0):,} of {n:,}" for k, n in card.classes.items() if sizes.get(k, 0) != n]
    if len(sizes) != card.n_classes and not card.classes:
        wrong = [f"{len(sizes)} of {card.n_classes} classes"]
    n_images = card.n_images or len(dataset)
    if wrong or len(dataset) != n_images:
        more = len(dataset) > n_images or any(sizes.get(k, 0) > n for k, n in card.classes.items())
        what = "differs from its card" if more else "a subset"
        details = f" ({some(wrong)})" if wrong else ""
        yield Finding(f"{card.name}: {what}: {len(dataset):,} of {n_images:,} images{details}")
