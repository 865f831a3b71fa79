"""Official splits that publishers give as lists beside the images: of CUB, SUN397 and ChestX-ray8.

Episodes need none of them, so a list that is absent says nothing, and one that cannot be used is a finding: the images
are there all the same, and many-shot work draws its split.

Source: `images.txt` and `train_test_split.txt` of CUB-200-2011; `Training_01.txt` and `Testing_01.txt` of SUN397, the
first of ten partitions, which leaves out most images; `train_val_list.txt` and `test_list.txt` of ChestX-ray8, which
keep patients apart.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.listed import read_text
from fewshot_bn.datasets.rows import SPLITS
from fewshot_bn.errors import DataError, some

Pairs = Iterator[tuple[str, int]]  # of the id of an image and the number of its split


def with_official_split(dataset: Dataset, name: str, folder: Path) -> Dataset:
    """The dataset of the card `name`, whose tree is `folder`, with the splits of its lists, if they are there.

    Images that are on none are in no split (-1).
    """
    if name not in LISTS or dataset.splits is not None:
        return dataset
    try:
        pairs = list(LISTS[name](folder))
        splits = _splits(dataset, pairs) if pairs else None
    except DataError as problem:
        text = f"{name}: {problem}; so there is no official split, and many-shot work draws one"
        return replace(dataset, notices=(*dataset.notices, Finding(text, is_wrong=True)))
    return replace(dataset, splits=splits)


def _splits(dataset: Dataset, pairs: list[tuple[str, int]]) -> np.ndarray:
    split_of: dict[str, int] = {}
    twice = [image for image, split in pairs if split_of.setdefault(image, split) != split]
    if twice:
        raise DataError(f"the official lists name {some(twice)} for training and for testing")
    splits = np.array([split_of.get(image, -1) for image in dataset.ids], np.int64)
    if not (splits >= 0).any():
        raise DataError(f"the official lists name {some([image for image, _ in pairs])}, and no image that is there")
    return splits


def _cub(folder: Path) -> Pairs:
    """`folder` holds the classes. Lines `1 class/image.jpg` in one file, `1 0` in the other."""
    names, parts = folder.parent / "images.txt", folder.parent / "train_test_split.txt"
    if _are_there(names, parts):
        image_of = dict(_two_words(names))
        for number, part in _two_words(parts):
            if number not in image_of or part not in ("0", "1"):
                raise DataError(f"{parts}: holds '{number} {part}'; the number of an image and 0 or 1 are needed")
            yield image_of[number], SPLITS["train" if part == "1" else "test"]


def _two_words(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        first, _, second = line.partition(" ")
        if not second or " " in second:
            raise DataError(f"{path}: holds {line[:60]!r}; two words are needed in each line")
        yield first, second


def _sun397(folder: Path) -> Pairs:
    """Lines `/a/abbey/sun_x.jpg`; the files lie where people unpack Partitions.zip."""
    places = (folder / "SUN397", folder / "SUN397" / "Partitions", folder, folder / "Partitions")
    for place in places:
        train, test = place / "Training_01.txt", place / "Testing_01.txt"
        if _are_there(train, test):
            yield from _two_lists(train, test, lambda line: f"SUN397/{line.lstrip('/')}")
            return


def _chestx(folder: Path) -> Pairs:
    """Lines `00000001_000.png`."""
    train, test = folder / "train_val_list.txt", folder / "test_list.txt"
    if _are_there(train, test):
        yield from _two_lists(train, test, str)


def _are_there(one: Path, other: Path) -> bool:
    """Whether both are. Raises `DataError` where only one is."""
    there = [path for path in (one, other) if path.is_file()]
    if len(there) == 1:
        absent = other if there == [one] else one
        raise DataError(f"{there[0]} is there, but {absent.name} is not beside it; add it or remove both")
    return bool(there)


def _two_lists(train: Path, test: Path, id_of: Callable[[str], str]) -> Pairs:
    for path, split in ((train, SPLITS["train"]), (test, SPLITS["test"])):
        yield from ((id_of(line), split) for line in _lines(path))


def _lines(path: Path) -> list[str]:
    """Those that are not blank. Raises `DataError` where there are none."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: names no image")
    return lines


LISTS: Mapping[str, Callable[[Path], Pairs]] = {"chestx": _chestx, "cub": _cub, "sun397": _sun397}
