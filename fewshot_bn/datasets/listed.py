"""Images that a table names one by one: from its records, and the files found beside it, to a `Dataset`."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES, Row, assemble, kept_classes
from fewshot_bn.errors import DataError, some


class Record(NamedTuple):
    """A line of a table: which image, its label, its group and its split (-1: none)."""

    image: str
    label: str
    group: str = ""
    split: int = -1


class Found(NamedTuple):
    """The image files that are there, by the name that a table gives them; `twice` names those that differ."""

    files: Mapping[str, tuple[str, os.stat_result]]
    twice: Sequence[str] = ()


def open_listed(
    name: str,
    folder: Path,
    records: Sequence[Record],
    found: Found,
    *,
    classes: Sequence[str] = (),
    notices: Iterable[str] = (),
    problems: Iterable[str] = (),
) -> Dataset:
    """The images that are both listed and there.

    Without `classes`, which come from a card, the labels are the classes in alphabetical order, numbers in theirs, and
    a listed image that is absent is a problem; with them it is noticed.
    """
    notices, problems = list(notices), list(problems)
    names = list(classes) or sorted({record.label for record in records}, key=_number_or_text)
    label_of = {name: k for k, name in enumerate(names)}
    repeated = _repeated(records)
    if repeated:
        problems.append(f"{name}: {some(repeated)}: listed more than once; leave one line for each image")
    if found.twice:
        problems.append(f"{name}: {some(found.twice)}: there more than once, and not the same; remove the wrong ones")
    absent = [record.image for record in records if record.image not in found.files]
    if absent:
        text = f"{name}: {len(absent):,} images are listed but not in {folder}: {some(absent)}"
        (notices if classes else problems).append(text)
    listed = {record.image for record in records}
    rows = [
        Row(label_of[r.label], r.image, path, state.st_size, state.st_mtime_ns, r.split, r.group)
        for r in records
        if r.image in found.files
        for path, state in [found.files[r.image]]
    ]
    if not rows:
        raise DataError(f"{name}: none of the {len(listed):,} images that are listed is in {folder}")
    return assemble(name, folder, *kept_classes(names, rows), notices=notices, problems=problems)


def not_listed(name: str, found: Found, listed: Iterable[str]) -> list[str]:
    """What to say of images that are there and that no line names."""
    extra = sorted(found.files.keys() - set(listed))
    return [f"{name}: {len(extra):,} images are there but not listed, and left out: {some(extra)}"] if extra else []


def find_in(folder: Path, patterns: Sequence[str]) -> Found:
    """The image files in the folders below `folder` that fit the patterns, by file name."""
    files: dict[str, tuple[str, os.stat_result]] = {}
    twice = []
    for place in sorted({place for pattern in patterns for place in folder.glob(pattern) if place.is_dir()}):
        for name, state in images_in(place):
            if name in files and files[name][1].st_size != state.st_size:
                twice.append(name)
            files.setdefault(name, (f"{place.relative_to(folder).as_posix()}/{name}", state))
    return Found(files, twice)


def find_listed(folder: Path, records: Iterable[Record]) -> Found:
    """The files whose paths, relative to `folder`, the records give; and the images beside those."""
    files: dict[str, tuple[str, os.stat_result]] = {}
    for path in {record.image for record in records}:
        try:
            state = (folder / path).stat()
        except (OSError, ValueError):
            continue
        if (folder / path).is_file():
            files[path] = (path, state)
    for part in sorted({os.path.split(path)[0] for path in files}):
        for name, state in images_in(folder / part):
            path = f"{part}/{name}" if part else name
            files.setdefault(path, (path, state))
    return Found(files)


def images_in(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The image files of a folder itself. Raises `DataError` where it cannot be read, or for a broken link."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith("."):
                    yield entry.name, entry.stat()
    except OSError as problem:
        raise DataError(f"{problem.filename}: this folder or file cannot be read: {problem.strerror}") from problem


def _repeated(records: Iterable[Record]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(r.image for r in records if r.image in seen or seen.add(r.image)))  # type: ignore[func-returns-value]


def _number_or_text(label: str) -> tuple[bool, int, str]:
    """Numbers by their value, before all texts."""
    is_number = label.isascii() and label.isdigit()
    return not is_number, int(label) if is_number else 0, label
