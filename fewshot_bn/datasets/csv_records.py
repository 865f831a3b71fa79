"""The lines of a CSV file as cells, which commas separate, or tabs, semicolons or bars, if the first line has them."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot_bn.datasets.listed import LONGEST, read_text
from fewshot_bn.errors import DataError, some

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def cells_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Where each line of a CSV file stands, and its cells in `columns`.

    Raises `DataError` where a column is missing or there twice, or a line has another number of cells. Cells that are
    empty, at the end of all lines or some, do not count (ChestX-ray8 has them).
    """
    lines = records(path)
    _, header = next(lines, (1, []))
    counts = {column: header.count(column) for column in columns}
    faults = [f"{n} columns {column!r}" if n else f"no column {column!r}" for column, n in counts.items() if n != 1]
    if faults:
        kind = SEPARATORS[separator_of(read_text(path))]
        found = f"its columns, separated by {kind}, are {some([repr(column) for column in header], 12)}"
        raise DataError(f"{path}: has {some(faults)}, one is needed; {found if header else 'it is empty'}")
    n_cells = max(k for k, column in enumerate(header, 1) if column)
    places = [header.index(column) for column in columns]
    for line, cells in lines:
        if len(cells) < n_cells or any(cells[n_cells:]):
            raise DataError(
                f"{path}: line {line} has {len(cells)} cells, the header {n_cells}; a comma in a name needs quotes "
                "around the name"
            )
        used = [cells[place] for place in places]
        if any(len(cell) > LONGEST or "\n" in cell or "\r" in cell for cell in used):
            raise DataError(
                f"{path}: line {line} has a name or label of several lines or more than {LONGEST:,} characters; is a "
                "quote missing?"
            )
        yield f"{path.name} line {line}", used


def separator_of(text: str) -> str:
    """What separates the cells of a table, by its first line."""
    header = next(iter(text[: LONGEST * 10].splitlines()), "")
    return next((separator for separator in SEPARATORS if separator in header), ",")


def records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file that are not blank, each with the line it begins on."""
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator_of(text))
    line = 1
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{path}: line {line}: no CSV: {problem}; look at its quotes and commas") from problem
