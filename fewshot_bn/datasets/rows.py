"""From the files that a layout has found to a `Dataset`: canonical order, fingerprint, and what is wrong with them."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import digest

# Of the formats that `preprocessing` opens.
KINDS = "apng avif bmp dib gif j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx pbm pgm png pnm ppm tif tiff webp"
IMAGE_SUFFIXES = tuple(f".{kind}" for kind in KINDS.split())
SPLITS = {"train": 0, "val": 1, "test": 2}
SPLIT_NAMES = {number: name for name, number in SPLITS.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a dataset; whoever lists it fills in what it knows.

    `where` is the line that lists it, `split` one of `SPLITS` or -1: not said. `path` is its file below the dataset's
    folder, with that file's size and time of change.
    """

    id: str
    class_name: str
    group: str = ""
    split: int = -1
    where: str = ""
    path: str = ""
    n_bytes: int = 0
    modified_ns: int = 0

    def located(self, path: str, state: os.stat_result) -> "Row":
        """The same image, now that its file is found."""
        size, time_ns = state.st_size, state.st_mtime_ns
        return Row(self.id, self.class_name, self.group, self.split, self.where, path, size, time_ns)


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads the encoded image of a row from its file. Pickled, it is small enough to be sent to other processes."""

    folder: Path
    paths: tuple[str, ...]

    def __call__(self, row: int) -> bytes:
        return (self.folder / self.paths[row]).read_bytes()


def assemble(
    name: str,
    folder: Path,
    class_names: Iterable[str],
    rows: Collection[Row],
    *,
    notices: Iterable[Finding] = (),
    problems: Iterable[Finding] = (),
) -> Dataset:
    """The dataset of these images, whose files lie below `folder`, without the classes that no image is of.

    Raises `DataError` for fewer than two classes.
    """
    there = {row.class_name for row in rows}
    class_names = [class_name for class_name in class_names if class_name in there]
    if len(class_names) < 2:
        raise DataError(f"{name}: {len(class_names)} classes found in {folder}, at least 2 are needed")
    label_of = {class_name: k for k, class_name in enumerate(class_names)}
    rows = sorted(rows, key=lambda row: (label_of[row.class_name], row.id))
    empty = tuple(row.id for row in rows if row.n_bytes == 0)
    if empty:
        text = f"{some(empty)} in {folder}: empty (0 bytes); get these files again or remove them"
        problems = [*problems, Finding(text, empty)]
    labels, ids = [label_of[row.class_name] for row in rows], tuple(row.id for row in rows)
    fingerprint = digest([*class_names, *labels, *ids, *(row.n_bytes for row in rows)])
    return Dataset(
        name=name,
        class_names=tuple(class_names),
        labels=np.array(labels, np.int64),
        ids=ids,
        read=FileReader(folder.absolute(), tuple(row.path for row in rows)),
        fingerprint=fingerprint,
        stamp=digest([fingerprint, *(row.modified_ns for row in rows)]),
        notices=tuple(notices),
        problems=tuple(problems),
        splits=np.array([row.split for row in rows], np.int64) if any(row.split >= 0 for row in rows) else None,
        groups=tuple(row.group or f"({row.id})" for row in rows) if any(row.group for row in rows) else None,
    )


def repeated_ids(rows: Iterable[Row]) -> tuple[str, ...]:
    """The images that are listed more than once."""
    return tuple(image_id for image_id, n in Counter(row.id for row in rows).items() if n > 1)
