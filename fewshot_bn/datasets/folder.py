"""Images in one folder per class: any user's data, and the datasets that are published in that form.

The class folders may lie in folders `train`, `test` and, where there is one, `val`.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES, SPLITS, Row, assemble
from fewshot_bn.errors import DataError, some


def open_folder(folder: Path, *, name: str | None = None, class_names: Sequence[str] | None = None) -> Dataset:
    """The images under `folder/<class>/`, at any depth; classes in alphabetical order unless they are given.

    Or those under `folder/train/<class>/`, `folder/test/<class>/` and, where there is one, `folder/val/<class>/`.
    Raises `DataError` for a class without images and for fewer than two classes.
    """
    name = name or folder.resolve().name
    splits = _split_folders(folder) if class_names is None else {"": -1}
    if class_names is None:
        class_names = sorted({class_name for split in splits for class_name in class_folders(folder / split)})
    if len(class_names) < 2:
        raise DataError(
            f"{folder}: {len(class_names)} class folders found, at least 2 are needed; "
            "the expected tree is <folder>/<class>/<image>, one folder per class"
        )
    rows: list[Row] = []
    n_ignored = 0
    for class_name in class_names:
        found = [
            Row(path, class_name, split=split, path=path, n_bytes=state.st_size, modified_ns=state.st_mtime_ns)
            for part, split in splits.items()
            for path, state in _class(folder, part, class_name)
        ]
        images = [row for row in found if row.id.lower().endswith(IMAGE_SUFFIXES)]
        n_ignored += len(found) - len(images)
        if not any(row.split <= 0 for row in images):
            where = folder / "train" if "train" in splits else folder
            kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
            raise DataError(f"{name}: the class folder {class_name!r} in {where} holds no image ({kinds})")
        rows += images
    notice = Finding(f"{name}: {n_ignored:,} files that are no images were left out")
    return assemble(name, folder, class_names, rows, notices=[notice] if n_ignored else [])


def open_class_folders(name: str, folder: Path, class_names: Sequence[str]) -> Dataset:
    """Those of the classes `class_names` that are there; without names, every folder is a class."""
    found = class_folders(folder)
    there = set(found)
    return open_folder(folder, name=name, class_names=[k for k in class_names or found if k in there])


def class_folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith("."))
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be read: {problem.strerror}") from problem


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles
        return False


def _split_folders(folder: Path) -> dict[str, int]:
    """The folders that hold the class folders, with the number of their split; the folder itself where it has none."""
    found = set(class_folders(folder))
    extra = sorted(found - SPLITS.keys())
    if extra and {"train", "test"} <= found and class_folders(folder / "train"):
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
        yield from files_below(folder / prefix, prefix)


def files_below(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Every file below `folder` with its state, folder links not followed (they may lead in circles).

    Paths start with `prefix`.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from files_below(folder / entry.name, path)
                elif entry.is_file() or not Path(entry.path).exists():  # a broken link is an error, named below
                    yield path, entry.stat()
    except OSError as problem:
        raise DataError(f"{problem.filename}: this folder or file cannot be read: {problem.strerror}") from problem
