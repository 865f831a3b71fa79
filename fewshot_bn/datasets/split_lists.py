"""Lists of splits: CSV files that say of each image whether it is for training, validation or testing.

Columns `path` (the id of an image), `label` and `split`, and `group` where images have one. In the folder of the images
such a file is a dataset as well (csv_table.py), of the same images, labels and splits.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.csv_records import cells_of, column_for, header_of
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.looks import Scaled
from fewshot_bn.datasets.rows import SPLIT_NAMES, SPLITS, FileReader
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.errors import DataError, some

UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|^\s|\s$")  # what a table of text does not give back


def text_of(dataset: Dataset, splits: Int64[ndarray, "n"]) -> str:
    """The list of these splits; images in none (-1) are left out.

    Raises `DataError` for a name that a table cannot hold.
    """
    names = [dataset.class_names[label] for label in dataset.labels.tolist()]
    groups = dataset.groups or ()
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["path", "label", "split", *(["group"] if groups else [])])
    for row in np.flatnonzero(splits >= 0).tolist():
        image_id = dataset.ids[row]
        group = [groups[row] if groups[row] != f"({image_id})" else ""] if groups else []
        cells = [image_id, names[row], SPLIT_NAMES[int(splits[row])], *group]
        if odd := next((cell for cell in cells if UNWRITABLE.search(cell)), ""):
            raise DataError(
                f"{dataset.name}: {odd!r} cannot stand in a table: it begins or ends with a space, or holds a line end "
                "or what is no text in UTF-8; rename it"
            )
        table.writerow(cells)
    return file.getvalue()


def splits_of_list(path: Path, dataset: Dataset) -> Int64[ndarray, "n"]:
    """The split of each row by the list `path`; -1 for images that are not on it. A column `label` may be left out.

    Raises `DataError` for a line with another split, an image that is not in the data or there of another class, and
    for images that are listed more than once.
    """
    header = header_of(path)
    split = next((column for column in header if column.lower() == "split"), "split")
    columns = [column_for(path, "path", header), split, *(["label"] if "label" in header else [])]
    lines = list(cells_of(path, columns))
    if not lines:
        raise DataError(f"{path}: names no image; lines of path, label and split are needed")
    numbers = [split_number(cells[1]) for _, cells in lines]
    wrong = [f"{where}: {cells[1]!r}" for (where, cells), number in zip(lines, numbers, strict=True) if number < 0]
    if wrong:
        raise DataError(
            f"{path}: {some(wrong)}: the split is none of {', '.join(SPLITS)}; correct it, or remove the line"
        )
    rows = _rows(path, [cells[0] for _, cells in lines], dataset)
    _check_labels(path, lines, rows, dataset)
    splits = np.full(len(dataset), -1, np.int64)
    splits[rows] = numbers
    return splits


def _rows(path: Path, images: Sequence[str], dataset: Dataset) -> list[int]:
    """The row of each image, all of them there and none twice."""
    row_of = _finder(dataset)
    rows = [row_of(image) for image in images]
    absent = [image for image, row in zip(images, rows, strict=True) if row is None]
    if absent:
        how = "get these images or remove their lines" if len(absent) < len(images) else "paths are those of the data"
        raise DataError(
            f"{path}: {len(absent):,} of {len(images):,} images are not in {dataset.name}: {some(absent)}; its images "
            f"are called like {dataset.ids[0]}; {how}"
        )
    found = [row for row in rows if row is not None]
    if twice := [dataset.ids[row] for row, n in Counter(found).items() if n > 1]:
        raise DataError(f"{path}: {some(twice)}: listed more than once; leave one line for each image")
    return found


def _finder(dataset: Dataset) -> Callable[[str], int | None]:
    """Finds the row of a path: as the dataset calls it, or with `./`, `//`, backslashes or the whole way to it."""
    rows = {image_id: row for row, image_id in enumerate(dataset.ids)}
    reader = dataset.read.read if isinstance(dataset.read, Scaled) else dataset.read
    top, files = (f"{reader.folder.as_posix()}/", reader.paths) if isinstance(reader, FileReader) else ("", ())
    by_file = {file: row for row, file in enumerate(files)}

    def find(text: str) -> int | None:
        if text in rows:
            return rows[text]
        plain = os.path.normpath(text.replace("\\", "/"))
        return rows.get(plain, by_file.get(plain.removeprefix(top)))

    return find


def _check_labels(
    path: Path, lines: Sequence[tuple[str, Sequence[str]]], rows: Sequence[int], dataset: Dataset
) -> None:
    others = [
        f"{where}: {cells[0]} is of class {name!r}, not {cells[2]!r}"
        for (where, cells), row in zip(lines, rows, strict=True)
        if len(cells) > 2 and cells[2] != (name := dataset.class_names[dataset.labels[row]]).strip()
    ]
    if others:
        raise DataError(
            f"{path}: {len(others):,} labels are not those of {dataset.name}: {some(others)}; correct them, or remove "
            "the column"
        )
