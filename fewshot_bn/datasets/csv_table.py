"""Images listed in CSV files: a user's own, and the datasets that are published in that form (ISIC 2018, ChestX-ray8).

Columns are found by their names. A user's file has columns `path` (relative to the file) and `label`, and may have
`group` and `split`.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fewshot_bn.datasets.card import GroupTable, Table
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.listed import Record, find_in, find_listed, not_listed, open_listed
from fewshot_bn.datasets.rows import SPLITS
from fewshot_bn.errors import DataError, some


class Line(NamedTuple):
    """A line of a table, the labels that it gives its image, and where it stands."""

    where: str
    image: str
    labels: tuple[str, ...]
    group: str
    split: str


def open_csv(path: Path) -> Dataset:
    """A user's own table."""
    header = next(_cells(path, []))[1]
    group, split = (column if column in header else "" for column in ("group", "split"))
    return open_table(path.stem, path.parent, Table(files=(path.name,), group=group, split=split))


def open_table(name: str, folder: Path, table: Table, classes: Sequence[str] = ()) -> Dataset:
    """The dataset that `table`, whose files lie below `folder`, describes; `classes` are those of a card.

    Raises `DataError` for a file or column that is missing.
    """
    lines = [line for file in table.files for line in _lines(folder / file, table, classes)]
    notices, problems = [], []
    usable = [line for line in lines if len(line.labels) == 1 and (not classes or line.labels[0] in classes)]
    left_out = [line for line in lines if len(line.labels) != 1 or (classes and line.labels[0] not in classes)]
    if table.one_hot and left_out:
        where = some([line.where for line in left_out])
        problems.append(f"{name}: {where}: an image needs exactly one label, these have none or several")
    elif left_out and (classes or table.separator):
        notices.append(
            f"{name}: {len(left_out):,} of {len(lines):,} images left out, which are not of exactly one class"
        )
    elif left_out:
        problems.append(f"{name}: {some([line.where for line in left_out])}: no label")
    wrong = [line.where for line in usable if table.split and line.split not in SPLITS]
    if wrong:
        problems.append(f"{name}: {some(wrong)}: the split is none of {', '.join(SPLITS)}")
    groups = _groups(folder, table.groups) if table.groups else {}
    records = [
        Record(
            line.image + table.suffix,
            line.labels[0],
            group=groups.get(line.image, "") if table.groups else line.group,
            split=SPLITS.get(line.split, -1),
        )
        for line in usable
    ]
    found = find_in(folder, table.images) if table.images else find_listed(folder, records)
    notices += not_listed(name, found, (line.image + table.suffix for line in lines))
    return open_listed(name, folder, records, found, classes=classes, notices=notices, problems=problems)


def _lines(path: Path, table: Table, classes: Sequence[str]) -> Iterator[Line]:
    labels = list(classes) if table.one_hot else [table.label]
    columns = [table.image, *labels, *filter(None, [table.group, table.split])]
    rows = _cells(path, columns)
    _, header = next(rows)
    place = {column: header.index(column) for column in columns}
    take = _one_hot([place[k] for k in labels], labels) if table.one_hot else _split_up(place[table.label], table)
    for where, cells in rows:
        group = cells[place[table.group]] if table.group else ""
        split = cells[place[table.split]].lower() if table.split else ""
        yield Line(where, cells[place[table.image]], take(cells), group, split)


def _one_hot(places: Sequence[int], names: Sequence[str]) -> Callable[[Sequence[str]], tuple[str, ...]]:
    """Which of the columns are not 0. What is no number counts as no label."""

    def take(cells: Sequence[str]) -> tuple[str, ...]:
        try:
            return tuple(name for name, k in zip(names, places, strict=True) if float(cells[k]) != 0)
        except ValueError:
            return ()

    return take


def _split_up(place: int, table: Table) -> Callable[[Sequence[str]], tuple[str, ...]]:
    def take(cells: Sequence[str]) -> tuple[str, ...]:
        labels = cells[place].split(table.separator) if table.separator else [cells[place]]
        return tuple(label for label in labels if label)

    return take


def _groups(folder: Path, table: GroupTable) -> dict[str, str]:
    """The group of each image by the table of its own; none where that is not there."""
    path = folder / table.file
    if not path.is_file():
        return {}
    rows = _cells(path, [table.image, table.group])
    _, header = next(rows)
    image, group = header.index(table.image), header.index(table.group)
    return {cells[image]: cells[group] for _, cells in rows}


def _cells(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines of a CSV file, each with where it stands: the header first, then all that are not blank.

    Raises `DataError` where one of the columns `needed` is missing, or a line has another number of cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in needed if column not in header]
            if missing:
                found = ", ".join(header) or "none"
                raise DataError(f"{path}: has no column {', '.join(map(repr, missing))}; its columns are {found}")
            yield f"{path.name} line 1", header
            for cells in reader:
                if not any(cells):
                    continue
                where = f"{path.name} line {reader.line_num}"
                if len(cells) != len(header):
                    raise DataError(f"{path}: line {reader.line_num} has {len(cells)} cells, the header {len(header)}")
                yield where, [cell.strip() for cell in cells]
    except OSError as problem:
        raise DataError(f"{path}: this table cannot be read: {problem.strerror}") from problem
    except (csv.Error, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not a CSV file in UTF-8: {problem}") from problem
