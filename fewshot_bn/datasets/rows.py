"""From the files that a layout has found to a `Dataset`: canonical order, fingerprint, and what is wrong with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import digest

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = {"train": 0, "val": 1, "test": 2}


class Row(NamedTuple):
    """One image: its label, its id, its file below the dataset's folder, and that file's size and time of change."""

    label: int
    id: str
    path: str
    n_bytes: int
    modified_ns: int
    split: int = -1
    group: str = ""


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
    class_names: Sequence[str],
    rows: Iterable[Row],
    *,
    notices: Iterable[str] = (),
    problems: Iterable[str] = (),
) -> Dataset:
    """The dataset of these images, whose files lie below `folder`. Raises `DataError` for fewer than two classes."""
    if len(class_names) < 2:
        raise DataError(f"{name}: {len(class_names)} classes found in {folder}, at least 2 are needed")
    rows = sorted(rows, key=lambda row: (row.label, row.id))
    empty = [row.id for row in rows if row.n_bytes == 0]
    if empty:
        text = f"{some(empty)} in {folder}: empty (0 bytes); get these files again or remove them"
        problems = [*problems, Finding(text, empty)]
    labels, ids = [row.label for row in rows], tuple(row.id for row in rows)
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


def kept_classes(class_names: Sequence[str], rows: Iterable[Row]) -> tuple[list[str], list[Row]]:
    """Without the classes that no row is of, the rows labelled anew."""
    rows = list(rows)
    present = sorted({row.label for row in rows})
    place = {label: k for k, label in enumerate(present)}
    return [class_names[k] for k in present], [row._replace(label=place[row.label]) for row in rows]
