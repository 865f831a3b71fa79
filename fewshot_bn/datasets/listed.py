"""Images that a table names one by one: from its rows, and the files found beside it, to a `Dataset`."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.near_misses import advice_on
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES, Row, assemble, repeated_ids
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import read_file

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # what no text holds
MOST_BYTES = 2**28  # of a table or list: millions of lines
LONGEST = 1000  # characters of a name or a label


@dataclass(frozen=True, slots=True)
class Found:
    """The image files that are there, by the name that a table gives them; `twice` names those that differ."""

    files: Mapping[str, tuple[str, os.stat_result]]
    twice: tuple[str, ...] = ()


def open_listed(
    name: str,
    folder: Path,
    rows: Sequence[Row],
    found: Found,
    *,
    classes: Sequence[str] = (),
    notices: Iterable[Finding] = (),
    problems: Iterable[Finding] = (),
) -> Dataset:
    """The images that are both listed and there.

    Without `classes`, which come from a card, the labels are the classes in alphabetical order, numbers in theirs, and
    a listed image that is absent is a problem; with them it is noticed.
    """
    notices, problems = list(notices), list(problems)
    if repeated := repeated_ids(rows):
        problems.append(_listed_again(name, rows, repeated))
    if found.twice:
        text = f"{name}: {some(found.twice)}: there more than once, and not the same; remove the wrong ones"
        problems.append(Finding(text, found.twice))
    there = [row.located(*found.files[row.id]) for row in rows if row.id in found.files]
    absent = tuple(row.id for row in rows if row.id not in found.files)
    if absent:
        text = f"{name}: {len(absent):,} of {len(rows):,} images are listed but not in {folder}: {some(absent)}"
        advice = "" if classes else advice_on(absent[0], folder)
        n_classes = len({row.class_name for row in there})
        if n_classes < 2:
            few = f"those that are there are of {n_classes} classes, at least 2 are needed"
            raise DataError(f"{text}; {advice or few}")
        if classes:
            notices.append(Finding(text, absent))
        else:
            problems.append(Finding(f"{text}; {advice or 'get them or remove their lines'}", absent))
    names = classes or sorted({row.class_name for row in rows}, key=number_or_text)
    return assemble(name, folder, names, there, notices=notices, problems=problems)


def _listed_again(name: str, rows: Sequence[Row], repeated: Sequence[str]) -> Finding:
    """Images that several lines name, and the files of these lines, if they are several."""
    again = set(repeated)
    files = sorted({row.where.rpartition(" line ")[0] for row in rows if row.id in again} - {""})
    text = f"{name}: {some(repeated)}: listed more than once; leave one line for each image"
    if len(files) > 1:
        text = f"{name}: {len(again):,} images are listed in more than one of {some(files)}; leave one of these files"
    return Finding(text, tuple(repeated))


def not_listed(name: str, found: Found, rows: Iterable[Row]) -> list[Finding]:
    """What to say of images that are there and that no line names."""
    extra = tuple(sorted(found.files.keys() - {row.id for row in rows}))
    text = f"{name}: {len(extra):,} images are there but not listed, and left out: {some(extra)}"
    return [Finding(text, extra)] if extra else []


def find_in(folder: Path, patterns: Sequence[str]) -> Found:
    """The image files in the folders below `folder` that fit the patterns, by file name."""
    files: dict[str, tuple[str, os.stat_result]] = {}
    twice = set()
    for place in sorted({place for pattern in patterns for place in folder.glob(pattern) if place.is_dir()}):
        part = place.relative_to(folder).as_posix()
        for name, state in images_in(place):
            if name in files and files[name][1].st_size != state.st_size:
                twice.add(name)
            files.setdefault(name, (f"{part}/{name}", state))
    return Found(files, tuple(sorted(twice)))


def find_listed(folder: Path, rows: Iterable[Row]) -> Found:
    """The files whose paths, relative to `folder`, the rows give as ids; and the images beside those."""
    images = {row.id for row in rows}
    files: dict[str, tuple[str, os.stat_result]] = {}
    for part in sorted({os.path.dirname(image) for image in images}):  # noqa: PTH120 - of 100,000, soon
        if is_there(folder / part, stat.S_ISDIR):
            for name, state in images_in(folder / part):
                path = f"{part.rstrip('/')}/{name}" if part else name
                files[path] = (path, state)
    for image in images - files.keys():  # of another suffix, hidden, or in a file system that takes a for A
        there = is_there(folder / image, stat.S_ISREG)
        if there:
            files[image] = (image, there)
    return Found(files)


def images_in(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The image files of a folder itself; links that lead nowhere are none. Raises `DataError` where it is closed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                    yield entry.name, entry.stat()
    except OSError as problem:
        raise DataError(f"{problem.filename}: this folder or file cannot be read: {problem.strerror}") from problem


def is_there(path: Path, kind: Callable[[int], bool]) -> os.stat_result | None:
    """The state of what has this path, if it is of this kind. Raises `DataError` where that may not be known."""
    try:
        state = path.stat()
    except PermissionError as problem:
        raise DataError(f"{path}: this folder or file cannot be read: {problem.strerror}") from problem
    except (OSError, ValueError):
        return None
    return state if kind(state.st_mode) else None


def tidy(path: str, folder: Path) -> str:
    """A path as it counts: without `./` and `//`, and relative to `folder` where it lies in it."""
    if path and ".." not in path:  # what that leads to, links decide
        path = os.path.normpath(path)
    return path.removeprefix(f"{folder.absolute()}/") if path.startswith("/") else path


def with_slashes(rows: Sequence[Row], folder: Path) -> list[Row]:
    r"""The rows with `/` for `\`, where all have `\` (Windows wrote them), none is there, and so one is."""
    if all("\\" in row.id for row in rows) and not any(is_there(folder / row.id, stat.S_ISREG) for row in rows):
        slashed = [replace(row, id=tidy(row.id.replace("\\", "/"), folder)) for row in rows]
        if any(is_there(folder / row.id, stat.S_ISREG) for row in slashed):
            return slashed
    return list(rows)


def read_text(path: Path) -> str:
    """The text of a table or list. Raises `DataError` where it cannot be read, or is no text in UTF-8."""
    try:
        text = read_file(path, MOST_BYTES).decode("utf-8-sig")
    except OSError as problem:
        raise DataError(f"{path}: this file cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{path}: line {line} is not in UTF-8; save this file again as text in UTF-8") from problem
    control = CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise DataError(f"{path}: line {line} holds {control[0]!r}; save this file again as text in UTF-8")
    return text


def number_or_text(label: str) -> tuple[bool, int, str]:
    """Numbers by their value, before all texts."""
    is_number = label.isascii() and label.isdigit()
    return not is_number, int(label) if is_number else 0, label
