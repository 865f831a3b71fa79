"""A plain list beside an image folder: lines `IMG_NAME CLASS_NUMBER`; names may hold spaces."""

import io
import stat
from collections.abc import Sequence
from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.listed import (
    LONGEST,
    find_listed,
    is_there,
    not_listed,
    open_listed,
    read_text,
    tidy,
    with_slashes,
)
from fewshot_bn.datasets.rows import Row
from fewshot_bn.datasets.tree import class_folders
from fewshot_bn.errors import DataError, some

MOST_DIGITS = 18


def open_list(path: Path) -> Dataset:
    """The images of a list. They lie beside it, or all in one folder beside it.

    Raises `DataError` for a line without a class number.
    """
    listed, wrong = [], []
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), 1):
        *name, label = line.strip().rsplit(maxsplit=1) or [""]
        if name and label.isascii() and label.isdigit() and len(label) <= MOST_DIGITS and len(name[0]) <= LONGEST:
            listed.append((name[0], str(int(label))))
        elif line.strip():
            wrong.append(f"line {number}: {line.strip()[:60]!r}")
    if wrong or not listed:
        found = some(wrong) or "nothing"
        raise DataError(f"{path}: found {found}; lines of the form IMG_NAME CLASS_NUMBER are needed")
    names = [image for image, _ in listed]
    names += [name.replace("\\", "/") for name in names if "\\" in name]  # as Windows writes paths
    folder = _holding(path.parent, names)
    rows = with_slashes([Row(tidy(image, folder), label) for image, label in listed], folder)
    files = find_listed(folder, rows)
    return open_listed(path.stem, folder, rows, files, notices=not_listed(path.stem, files, rows))


def _holding(folder: Path, images: Sequence[str]) -> Path:
    """The folder that holds most of the images: that of the list, or one in it."""
    places = [folder, *(folder / name for name in class_folders(folder))]
    sample = images[:: max(1, len(images) // 100)]
    return max(places, key=lambda place: _n_held(place, sample))


def _n_held(folder: Path, images: Sequence[str]) -> int:
    try:
        return sum(is_there(folder / image, stat.S_ISREG) is not None for image in images)
    except DataError:  # a folder that is closed, such as lost+found
        return 0
