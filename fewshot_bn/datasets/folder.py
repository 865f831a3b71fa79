"""Images in one folder per class: any user's data, and the datasets that are published in that form.

The class folders may lie in folders `train`, `test` and, where there is one, `val`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewshot_bn.datasets.card import DatasetCard
from fewshot_bn.datasets.dataset import Dataset, digest
from fewshot_bn.errors import DataError, some

SPLITS = {"train": 0, "val": 1, "test": 2}
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def open_folder(folder: Path, *, name: str | None = None, class_names: Sequence[str] | None = None) -> Dataset:
    """The images under `folder/<class>/`, at any depth; classes in alphabetical order unless they are given.

    Or those under `folder/train/<class>/`, `folder/test/<class>/` and, where there is one, `folder/val/<class>/`.
    Raises `DataError` for a class without images, for empty files and for fewer than two classes.
    """
    name = name or folder.resolve().name
    splits = _split_folders(folder) if class_names is None else {"": -1}
    if class_names is None:
        class_names = sorted({class_name for split in splits for class_name in _class_folders(folder / split)})
    if len(class_names) < 2:
        raise DataError(
            f"{folder}: {len(class_names)} class folders found, at least 2 are needed; "
            "the expected tree is <folder>/<class>/<image>, one folder per class"
        )
    files: list[_File] = []
    n_ignored = 0
    for k, class_name in enumerate(class_names):
        found = [_File(k, split, *file) for part, split in splits.items() for file in _class(folder, part, class_name)]
        images = [file for file in found if file.id.lower().endswith(IMAGE_SUFFIXES)]
        n_ignored += len(found) - len(images)
        if not any(file.split <= 0 for file in images):
            where = folder / "train" if "train" in splits else folder
            kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
            raise DataError(f"{name}: the class folder {class_name!r} in {where} holds no image ({kinds})")
        files += sorted(images, key=lambda file: file.id)
    empty = [file.id for file in files if file.state.st_size == 0]
    if empty:
        raise DataError(f"{name}: {some(empty)} in {folder}: empty (0 bytes); get these files again or remove them")
    labels, ids = [file.label for file in files], tuple(file.id for file in files)
    fingerprint = digest([*class_names, *labels, *ids, *(file.state.st_size for file in files)])
    return Dataset(
        name=name,
        class_names=tuple(class_names),
        labels=np.array(labels, np.int64),
        ids=ids,
        read=lambda row: (folder / ids[row]).read_bytes(),
        fingerprint=fingerprint,
        stamp=digest([fingerprint, *(file.state.st_mtime_ns for file in files)]),
        notices=(f"{name}: {n_ignored:,} files that are no images were left out",) if n_ignored else (),
        splits=None if "" in splits else np.array([file.split for file in files], np.int64),
    )


class _File(NamedTuple):
    label: int
    split: int
    id: str
    state: os.stat_result


def _split_folders(folder: Path) -> dict[str, int]:
    """The folders that hold the class folders, with the number of their split; the folder itself where it has none."""
    found = set(_class_folders(folder))
    extra = sorted(found - SPLITS.keys())
    if extra and {"train", "test"} <= found and _class_folders(folder / "train"):
        raise DataError(
            f"{folder}: holds train and test, but also {some(extra)}; call the folder of validation images val, and "
            "move others away"
        )
    if extra or not found:
        return {"": -1}
    if not {"train", "test"} <= found:
        raise DataError(f"{folder}: holds {some(sorted(found))}; of train, val and test, only val may be missing")
    return {name: number for name, number in SPLITS.items() if name in found}


def _class(folder: Path, part: str, class_name: str) -> Iterator[tuple[str, os.stat_result]]:
    prefix = f"{part}/{class_name}" if part else class_name
    if not part or (folder / prefix).is_dir():
        yield from _files(folder / prefix, prefix)


def open_carded_folder(card: DatasetCard, root: Path) -> Dataset:
    """The dataset of `card` under the data root `root`, with a notice wherever it differs from the card."""
    folder = _find(card, root)
    found = set(_class_folders(folder))
    present = [class_name for class_name in card.classes if class_name in found]
    dataset = open_folder(folder, name=card.name, class_names=present)
    notices = [*dataset.notices, *_differences(card, dataset, extra=sorted(found - set(card.classes)))]
    return replace(dataset, notices=tuple(notices))


def _find(card: DatasetCard, root: Path) -> Path:
    candidates = [root / folder for folder in card.folders]
    for candidate in candidates:
        if candidate.is_dir() and not card.classes.keys().isdisjoint(_class_folders(candidate)):
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    first = next(iter(card.classes))
    raise DataError(
        f"{card.name}: no data found; looked in {looked}. Expected tree: {root / card.folders[0] / first}/<image>, one "
        f"folder per class. How to get it: {card.get} Then name its data root with --data-root or FEWSHOT_BN_DATA. "
        "To try the tool now, run it without --dataset: the embedded digits need no download"
    )


def _differences(card: DatasetCard, dataset: Dataset, extra: list[str]) -> Iterator[str]:
    if extra:
        yield f"{card.name}: folders that are no class of the card were left out: {some(extra)}"
    sizes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
    wrong = [f"{k} {sizes.get(k, 0):,} of {n:,}" for k, n in card.classes.items() if sizes.get(k, 0) != n]
    if wrong:
        more = any(sizes.get(k, 0) > n for k, n in card.classes.items())
        what = "differs from its card" if more else "a subset"
        yield f"{card.name}: {what}: {len(dataset):,} of {card.n_images:,} images ({some(wrong)})"


def _class_folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be read: {problem.strerror}") from problem


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below `folder` with its state, folder links not followed (they may lead in circles)."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{prefix}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(folder / entry.name, path)
                elif entry.is_file() or not Path(entry.path).exists():  # a broken link is an error, named below
                    yield path, entry.stat()
    except OSError as problem:
        raise DataError(f"{problem.filename}: this folder or file cannot be read: {problem.strerror}") from problem
