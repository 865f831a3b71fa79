"""A Parquet file that is read a row group at a time, and what goes wrong with one, in one line.

pyarrow is imported when such a file is opened, never before.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot_bn.errors import DataError

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
BUFFER_BYTES = 2**20  # without one, pyarrow holds all of a column of a row group
MOST_ROWS = 20_000_000
BOMB_RATIO, BOMB_BYTES = 1000, 2**30
ROWS = 16  # images that are made at a time


def damaged() -> tuple[type[Exception], ...]:
    """What pyarrow raises for files that are damaged, or that it does not read."""
    from pyarrow import ArrowException

    return (ArrowException, OSError, ValueError, LookupError, TypeError, RuntimeError, MemoryError, OverflowError)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong when the file is read, as a `DataError`."""
    try:
        yield
    except damaged() as problem:
        raise DataError(f"{path}: this Parquet file cannot be read: {reason_of(problem)}") from problem


def reason_of(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def open_file(path: Path, dictionary: str = "") -> Any:
    """The `pyarrow.parquet.ParquetFile`; the text column `dictionary` is read as numbers and each text once.

    Raises `DataError` that names what the file is, if it is no Parquet file that can be read.
    """
    try:
        import pyarrow.parquet
    except ImportError as problem:
        absent = isinstance(problem, ModuleNotFoundError) and problem.name == "pyarrow"
        why = "" if absent else f" (the one that is there does not work: {problem})"  # e.g. needs another numpy
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'fewshot_bn[parquet]'{why}") from problem
    with reading(path):
        with path.open("rb") as raw:
            begins = raw.read(4)
            raw.seek(0, 2)
            n_bytes = raw.tell()
            raw.seek(max(0, n_bytes - 4))
            ends = raw.read(4)
        if ENCRYPTED in (begins, ends):
            raise ValueError("it is encrypted; write it without encryption")
        if begins != MAGIC:
            raise ValueError("it is none: it does not begin as one" if n_bytes else "it is empty (0 bytes)")
        if ends != MAGIC:
            raise ValueError("it is cut off; get it again")
        names = [dictionary] if dictionary else None
        file = pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, read_dictionary=names)
        _check_claims(file.metadata, n_bytes)
    return file


def _check_claims(metadata: Any, n_bytes: int) -> None:
    """Raise `ValueError` for what such a file cannot hold, before anything is made as large as it says."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    if metadata.num_rows != sum(group.num_rows for group in groups) or metadata.num_rows > MOST_ROWS:
        raise ValueError(f"it claims {metadata.num_rows:,} rows; at most {MOST_ROWS:,} are read, those of its groups")
    for group in groups:
        chunks = [group.column(k) for k in range(group.num_columns)]
        packed = sum(chunk.total_compressed_size for chunk in chunks)
        unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
        if min(packed, unpacked, group.num_rows) < 0 or packed > n_bytes:
            raise ValueError(f"it claims {packed:,} bytes of data, and has {n_bytes:,}")
        if unpacked > max(BOMB_BYTES, BOMB_RATIO * packed):
            raise ValueError(f"{packed:,} of its bytes would become {unpacked:,}")


def group_bytes(metadata: Any, column: str) -> int:
    """The most bytes that a row group has in this column, parts of it included."""
    return max(
        (
            sum(
                chunk.total_uncompressed_size
                for chunk in map(metadata.row_group(k).column, range(metadata.num_columns))
                if chunk.path_in_schema.partition(".")[0] == column
            )
            for k in range(metadata.num_row_groups)
        ),
        default=0,
    )


def images(file: Any, column: str, group: int) -> Iterator[tuple[bytes | None, str]]:
    """Of each row of a row group the encoded image, and its path if it has one; raises what `damaged` says."""
    import pyarrow as pa

    for batch in file.iter_batches(ROWS, row_groups=[group], columns=[column], use_threads=False):
        values = batch.column(0)
        names = [field.name for field in values.type] if pa.types.is_struct(values.type) else []
        fields = dict(zip(names, values.flatten(), strict=True)) if names else {"bytes": values}
        paths = fields["path"].to_pylist() if "path" in fields else [None] * len(values)
        yield from zip(fields["bytes"].to_pylist(), (path or "" for path in paths), strict=True)
