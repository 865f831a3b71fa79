"""Datasets of the user's own: a list of files with labels, and whatever a function of a Python file gives."""

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.rows import Row, assemble, repeated_ids
from fewshot_bn.errors import DataError, FewshotError, some
from fewshot_bn.files.own_code import load_object, reason_of
from fewshot_bn.raster import decoded, unreadable
from fewshot_bn.raster import reason_of as why_unreadable


def dataset_of_files(
    name: str,
    images: Iterable[Any] | Mapping[str | Path, Any],
    *,
    groups: Mapping[str | Path, str] | None = None,
) -> Dataset:
    """Images as pairs of file and class, a name or a whole number, or as a mapping of these.

    `groups` says of files what they show, such as a patient.

    An image's id is its path below the folder that all have in common. Raises `DataError` for files that are not there,
    for one that is named twice or has no class, and for fewer than two classes.
    """
    pairs = [_pair(name, image) for image in (images.items() if isinstance(images, Mapping) else images)]
    listed = [(Path(path).absolute(), _class_name(name, path, label)) for path, label in pairs]
    group_of = {Path(path).absolute(): group for path, group in (groups or {}).items()}
    if group_of and group_of.keys().isdisjoint(path for path, _ in listed):
        raise DataError(f"{name}: groups name {some(list(group_of))}, and no image; use the same paths for both")
    absent = [str(path) for path, _ in listed if not path.is_file()]
    if absent or not listed:
        raise DataError(f"{name}: {some(absent) or 'no image'}: not there; {len(listed):,} images are listed")
    folder = Path(os.path.commonpath([path.parent for path, _ in listed]))
    rows = []
    for path, class_name in listed:
        place = path.relative_to(folder).as_posix()
        rows.append(Row(place, class_name, group=group_of.get(path, "")).located(place, path.stat()))
    if repeated := repeated_ids(rows):
        raise DataError(f"{name}: {some(repeated)}: listed more than once; name each image once")
    return assemble(name, folder, sorted({row.class_name for row in rows}), rows)


def _pair(name: str, image: Any) -> tuple[str | Path, Any]:
    if isinstance(image, str | Path) or not hasattr(image, "__len__") or len(image) != 2:
        raise DataError(f"{name}: an image is {image!r}; a pair of file and class is needed")
    path, label = image
    return path, label


def _class_name(name: str, path: str | Path, label: object) -> str:
    if isinstance(label, str) and label.strip():
        return label
    if hasattr(label, "__index__") and not isinstance(label, bool):
        return str(operator.index(label))
    raise DataError(f"{name}: {path}: its class is {label!r}; a name or a whole number is needed")


def open_own(text: str) -> Dataset:
    """The dataset that `path/to/file.py:name` names: a `Dataset`, or a function without arguments that gives one.

    Raises `UsageError` where there is no such name, and `DataError` where what it gives is no sound dataset.
    """
    found: Any = load_object(text)
    if not isinstance(found, Dataset) and callable(found):
        try:
            found = found()
        except FewshotError:
            raise
        except (Exception, SystemExit) as problem:  # it is the user's code, which may raise anything
            raise DataError(f"{text}: fails: {reason_of(problem)}") from problem
    if not isinstance(found, Dataset):
        raise DataError(f"{text}: is a {type(found).__name__}; a fewshot_bn.Dataset, or a function that gives one")
    _check(found, text)
    return replace(found, in_memory=True)  # its reader may not be one that other processes can be given


def _check(dataset: Dataset, where: str) -> None:
    """What a reader of this package sees to by itself."""
    n, n_classes = len(dataset.ids), len(dataset.class_names)
    labels = np.asarray(dataset.labels)
    for name, values in (("labels", labels), ("groups", dataset.groups), ("splits", dataset.splits)):
        if values is not None and len(values) != n:
            raise DataError(f"{where}: has {n} ids and {len(values)} {name}; one of each is needed for every image")
    if not n or n_classes < 2 or set(labels.tolist()) != set(range(n_classes)):
        raise DataError(
            f"{where}: has {n} images and {n_classes} class_names; labels 0..classes-1, all of them, are needed"
        )
    if len(set(dataset.ids)) != n:
        raise DataError(f"{where}: has the same id twice; each image needs its own")
    order = sorted(range(n), key=lambda row: (labels[row], dataset.ids[row]))
    if order != list(range(n)):
        raise DataError(f"{where}: its rows are not sorted by label and then by id, so row numbers would not last")
    for row in np.unique(labels, return_index=True)[1].tolist():
        try:
            decoded(dataset.read(row))
        except unreadable() as problem:
            raise DataError(
                f"{where}: image {dataset.ids[row]!r} cannot be read: {why_unreadable(problem)}"
            ) from problem
