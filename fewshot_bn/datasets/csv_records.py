"""CSV files as their records: columns found by their names, cells that are checked, and where each line stands.

Cells are separated by commas, or by tabs or semicolons if the first line has no comma.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot_bn.datasets.listed import LONGEST, read_text
from fewshot_bn.errors import DataError, some

COLUMNS = {  # of a user's table: the first counts, and of the others one that is alone
    "path": "file_name filename filepath file_path file image image_path image_name image_file img img_path",
    "label": "class class_name category target species diagnosis",
}
WILDS = {"path": "img_filename", "label": "y"}  # counts where none of `COLUMNS` is there
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def header_of(path: Path) -> list[str]:
    """The cells of the first line."""
    _, header = next(_records(path), (1, []))
    return header


def column_for(path: Path, column: str, header: Sequence[str]) -> str:
    """The column of the header that is meant. Raises `DataError` if it may be several."""
    if column in header:
        return column
    found = [name for name in header if name.lower() in (column, *COLUMNS[column].split())]
    if len(found) > 1:
        others = " and ".join(map(repr, found))
        raise DataError(f"{path}: has no column {column!r}, but {others}; call the right one so")
    other = WILDS[column]
    if not found and other in header and not (other == "y" and "x" in header):  # a pair of coordinates
        return other
    return found[0] if found else column


def cells_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Where each line of a CSV file stands, and its cells in `columns`.

    Raises `DataError` where a column is missing or there twice, or a line has another number of cells. Cells that are
    empty, at the end of all lines or some, do not count (ChestX-ray8 has them).
    """
    records = _records(path)
    _, header = next(records, (1, []))
    counts = {column: header.count(column) for column in columns}
    faults = [f"{n} columns {column!r}" if n else f"no column {column!r}" for column, n in counts.items() if n != 1]
    if faults:
        kind = SEPARATORS[separator_of(read_text(path))]
        found = f"its columns, separated by {kind}, are {some([repr(column) for column in header], 12)}"
        raise DataError(f"{path}: has {some(faults)}, one is needed; {found if header else 'it is empty'}")
    n_cells = max(k for k, column in enumerate(header, 1) if column)
    places = [header.index(column) for column in columns]
    for line, cells in records:
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


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
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
