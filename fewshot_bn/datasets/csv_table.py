"""Images listed in CSV files: a user's own, and the datasets that are published in that form (ISIC 2018, ChestX-ray8).

Columns are found by their names. A user's file has columns `path` (relative to the file) and `label`, or others of
`COLUMNS` or `WILDS`, and may have `group` (or `domain`) and `split`.
"""

import csv
import glob
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fewshot_bn.datasets.card import GroupTable, Table
from fewshot_bn.datasets.csv_records import COLUMNS, cells_of, column_for, header_of, separator_of
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.found_elsewhere import find_elsewhere
from fewshot_bn.datasets.listed import (
    LONGEST,
    find_in,
    find_listed,
    not_listed,
    open_listed,
    tidy,
    with_slashes,
)
from fewshot_bn.datasets.rows import SPLITS, Row
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.errors import DataError, some

GROUPS = ("group", "domain")  # the first that is there counts
SPLIT_NUMBERS = {"0": 0, "1": 1, "2": 2}  # WILDS has them for train, val and test
MISSING = ("nan", "<na>", "null", "n/a", "#n/a")  # how programs write an empty cell


def open_csv(path: Path) -> Dataset:
    """A user's own table."""
    header = header_of(path)
    image, label = (column_for(path, column, header) for column in COLUMNS)
    group = next((column for column in GROUPS if column in header), "")
    split = "split" if "split" in header else ""
    table = Table(files=(glob.escape(path.name),), image=image, label=label, group=group, split=split)
    if not split or not _are_numbered(path, split):
        return open_table(path.stem, path.parent, table)
    dataset = open_table(path.stem, path.parent, table, split_of=SPLIT_NUMBERS.__getitem__)
    said = Finding(f"{dataset.name}: splits 0, 1 and 2 are taken for {', '.join(SPLITS)}")
    return replace(dataset, notices=(said, *dataset.notices))


def _are_numbered(path: Path, split: str) -> bool:
    """Whether the splits are the numbers 0, 1 and 2, all of them and nothing else."""
    cells = (cell for _, (cell,) in cells_of(path, [split]))
    return (first := next(cells, "")) in SPLIT_NUMBERS and {first, *cells} == SPLIT_NUMBERS.keys()


def open_table(
    name: str,
    folder: Path,
    table: Table,
    classes: Sequence[str] = (),
    *,
    within: Path | None = None,
    split_of: Callable[[str], int] = split_number,
) -> Dataset:
    """The dataset that `table`, whose files lie below `folder`, describes; `classes` are those of a card.

    `split_of` gives the number of the split that a cell names, -1 for none. If the folders of images hold none of those
    that are listed, they are looked for below `folder` and `within`.
    Raises `DataError` for a file or column that is missing, and where no line names an image of a class.
    """
    listed = [row for file in _files(folder, table) for row in _rows(folder, file, table, classes, split_of)]
    if not table.images:
        listed = with_slashes(listed, folder)
    rows = [row for row in listed if row.id and row.class_name]
    notices, problems = _left_out(name, table, classes, listed)
    if not rows:
        raise DataError(str([*problems, *notices, f"{name}: {', '.join(table.files)} lists no image"][0]))
    wrong = tuple(row.where for row in rows if table.split and row.split < 0)
    if wrong:
        text = f"{name}: {some(wrong)}: the split is none of {', '.join(SPLITS)}; correct it"
        problems.append(Finding(text, wrong))
    if table.groups:
        groups = _groups(folder, table.groups, within)
        rows = [replace(row, group=groups.get(row.id.removesuffix(table.suffix), "")) for row in rows]
    alone = tuple(row.id.removesuffix(table.suffix) for row in rows if not row.group)
    if 0 < len(alone) < len(rows):
        text = f"{name}: {len(alone):,} images have no group, and are one of their own: {some(alone)}"
        notices.append(Finding(text, alone))
    found = find_in(folder, table.images) if table.images else find_listed(folder, rows)
    if table.images and within and not any(row.id in found.files for row in rows):
        found, said = find_elsewhere(name, (folder, within), rows, table.images)
        notices += said
    notices += not_listed(name, found, listed)
    return open_listed(name, folder, rows, found, classes=classes, notices=notices, problems=problems)


def has_columns(path: Path, table: Table, classes: Sequence[str]) -> bool:
    """Whether the first line of a file names the columns that are needed."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(LONGEST * 10)
        header = next(csv.reader([line], delimiter=separator_of(line)), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {table.image, *(classes if table.one_hot else [table.label])} <= {column.strip() for column in header}


def _left_out(
    name: str, table: Table, classes: Sequence[str], listed: Sequence[Row]
) -> tuple[list[Finding], list[Finding]]:
    """What to say of lines without an image or exactly one class, as notices and as problems."""
    left_out = tuple(row.where for row in listed if not (row.id and row.class_name))
    if not left_out:
        return [], []
    if table.one_hot:
        text = f"{name}: {some(left_out)}: an image needs exactly one label, these have none or several"
        return [], [Finding(text, left_out)]
    if classes or table.separator:
        few = f"{len(left_out):,} of {len(listed):,} images left out, which are not of exactly one class"
        return [Finding(f"{name}: {few}")], []
    text = f"{name}: {some(left_out)}: no {table.image} or no {table.label}; add it or remove the line"
    return [], [Finding(text, left_out)]


def _files(folder: Path, table: Table) -> Iterator[str]:
    """The files of a table, each once; a pattern that fits none below `folder` stands for itself and will be missed."""
    found: dict[str, None] = {}
    for pattern in dict.fromkeys(table.files):
        places = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern)) or [pattern]
        found |= dict.fromkeys(places)
    yield from found


def _rows(  # noqa: PLR0917
    folder: Path, file: str, table: Table, classes: Sequence[str], split_of: Callable[[str], int]
) -> Iterator[Row]:
    """A row for each line: without an id if it names no image, without a class if it has not exactly one."""
    columns = classes if table.one_hot else (table.label,)
    labels_of = _one_hot(columns) if table.one_hot else _split_up(table.separator)
    named = {class_name.lower(): class_name for class_name in classes}
    optional = [column for column in (table.group, table.split) if column]
    for where, (image, *cells) in cells_of(folder / file, [table.image, *columns, *optional]):
        labels = labels_of(cells[: len(columns)])
        if not table.one_hot and classes:
            labels = [label if label in classes else named.get(label.lower(), label) for label in labels]
        elif not table.one_hot:
            labels = [label for label in labels if label.lower() not in MISSING]
        usable = len(labels) == 1 and (not classes or labels[0] in classes)
        more = dict(zip(optional, cells[len(columns) :], strict=True))
        name = image if table.images else tidy(image, folder)
        yield Row(
            name and name + table.suffix,
            labels[0] if usable else "",
            more.get(table.group, ""),
            split_of(more.get(table.split, "")),
            where,
        )


def _one_hot(names: Sequence[str]) -> Callable[[Sequence[str]], list[str]]:
    """Which of the columns are not 0; none, if one of them is no number."""

    def labels_of(cells: Sequence[str]) -> list[str]:
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            return []
        finite = all(map(math.isfinite, values))
        return [name for name, value in zip(names, values, strict=True) if finite and value != 0]

    return labels_of


def _split_up(separator: str) -> Callable[[Sequence[str]], list[str]]:
    def labels_of(cells: Sequence[str]) -> list[str]:
        return [label for label in (cells[0].split(separator) if separator else cells) if label]

    return labels_of


def _groups(folder: Path, table: GroupTable, within: Path | None) -> dict[str, str]:
    """The group of each image by the table of its own; none where that is not there."""
    path = folder / table.file
    if within and not path.is_file():
        path = next((other / table.file for other in (folder.parent, within) if (other / table.file).is_file()), path)
    groups: dict[str, str] = {}
    if path.is_file():
        for where, (image, group) in cells_of(path, [table.image, table.group]):
            if groups.setdefault(image, group) != group:
                raise DataError(f"{path}: {where}: {image} was of another {table.group} before; leave the right one")
    return groups
