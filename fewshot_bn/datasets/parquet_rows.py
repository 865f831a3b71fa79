"""Reads the encoded images of Parquet files, row by row.

A row group is read whole, and the last one kept by each thread, so rows are read in the order of the files. Groups too
large for that are copied once, image after image, to a file of the cache, from which each image is read by itself.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.array_file import State
from fewshot_bn.datasets.parquet_file import damaged, group_bytes, images, open_file, reason_of
from fewshot_bn.errors import DataError
from fewshot_bn.files import paths
from fewshot_bn.files.atomic import check_free, digest, locked, plain_name, replacing

logger = logging.getLogger(__name__)

MOST_GROUP_BYTES = 2**25  # a row group that each thread may hold
MORE = 16  # times what a file says of its size, which repeated images may have
OFFSET = np.dtype("<i8")
NO_IMAGE = "its row has no image"


@dataclass(frozen=True, slots=True)
class Source:
    """A file, its state when it was opened, the first row of each of its row groups, and the bytes of the largest."""

    path: Path
    state: State
    starts: tuple[int, ...]
    n_rows: int
    group_bytes: int


class RowReader:
    """Reads the image of a row: which file, and which row of it. Pickled, it is without what it has read."""

    def __init__(
        self, sources: tuple[Source, ...], column: str, shard: Int64[ndarray, "n"], place: Int64[ndarray, "n"]
    ) -> None:
        self._sources, self._column, self._shard, self._place = sources, column, shard, place
        self._kept = threading.local()

    def __getstate__(self) -> tuple[Any, ...]:
        for source in self._sources:  # here, so that not each process begins with it
            if source.group_bytes > MOST_GROUP_BYTES:
                copied(source, self._column)
        return self._sources, self._column, self._shard, self._place

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, row: int) -> bytes:
        """Raises `ValueError` for a row without an image, and where the file is damaged."""
        shard, place = int(self._shard[row]), int(self._place[row])
        source = self._sources[shard]
        if source.group_bytes > MOST_GROUP_BYTES:
            return _at(copied(source, self._column), place) or beside(source.path, "")
        group = int(np.searchsorted(source.starts, place, "right")) - 1
        if getattr(self._kept, "key", None) != (shard, group):
            self._kept.images, self._kept.key = self._group(shard, group), (shard, group)
        encoded, path = self._kept.images[place - source.starts[group]]
        return encoded if encoded is not None else beside(source.path, path)

    def _group(self, shard: int, group: int) -> list[tuple[bytes | None, str]]:
        if getattr(self._kept, "shard", None) != shard:
            self._kept.file, self._kept.shard = _opened(self._sources[shard]), shard
        self._kept.images = self._kept.key = None  # so there are never two
        try:
            return list(_bounded(images(self._kept.file, self._column, group), MORE * MOST_GROUP_BYTES))
        except damaged() as problem:
            raise ValueError(f"{self._sources[shard].path.name} is damaged: {reason_of(problem)}") from problem


def source_of(path: Path, metadata: Any, column: str) -> Source:
    sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    starts = tuple(np.cumsum([0, *sizes])[:-1].tolist())
    return Source(path.absolute(), state_of(path), starts, metadata.num_rows, group_bytes(metadata, column))


def state_of(path: Path) -> State:
    state = path.stat()
    return State(state.st_ino, state.st_size, state.st_mtime_ns)


def beside(path: Path, name: str) -> bytes:
    """The image that a row only names, if it lies in the folder of the Parquet file or below. Raises `ValueError`."""
    folder = path.parent.resolve()
    place = (folder / name).resolve()
    if name and place.is_relative_to(folder) and place.is_file():
        return place.read_bytes()
    raise ValueError(f"its row has no bytes, only the path {name!r}, which is not below {folder}" if name else NO_IMAGE)


def copied(source: Source, column: str) -> Path:
    """The file of the cache that holds the images one after the other, behind the places where each begins."""
    key = digest([source.path, source.state, column])[:16]
    target = paths.cache_root() / "parquet" / f"{plain_name(source.path.stem)}_{key}.images"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_free(target.parent, source.state.n_bytes)
        with locked(target.with_name(f".{target.name}.lock"), f"another run is writing {target}; waiting for it"):
            if not target.exists():
                logger.warning(
                    f"{source.path.name}: has row groups of {source.group_bytes / 2**20:,.0f} MiB, of which no single "
                    f"image can be read; its images are copied to {target}, once"
                )
                with replacing(target) as half_made:
                    _copy(source, column, half_made)
    except ValueError as problem:
        raise DataError(f"{source.path}: {problem}; write it anew") from problem
    except OSError as problem:
        raise DataError(
            f"{target}: cannot be written: {problem.strerror}; make room, name another FEWSHOT_BN_CACHE, or "
            f"write {source.path.name} again in row groups of 100 rows (row_group_size=100)"
        ) from problem
    return target


def _copy(source: Source, column: str, target: Path) -> None:
    starts = [OFFSET.itemsize * (source.n_rows + 1)]
    with target.open("wb") as file:
        file.seek(starts[0])
        for encoded, _ in _bounded(_images(source, column), MORE * max(MOST_GROUP_BYTES, source.state.n_bytes)):
            file.write(encoded or b"")
            starts.append(file.tell())
        file.seek(0)
        file.write(np.array(starts, OFFSET).tobytes())


def _images(source: Source, column: str) -> Iterator[tuple[bytes | None, str]]:
    file = _opened(source)
    for group in range(len(source.starts)):
        try:
            yield from images(file, column, group)
        except damaged() as problem:
            raise DataError(f"{source.path}: is damaged: {reason_of(problem)}; get it again") from problem


def _bounded(rows: Iterator[tuple[bytes | None, str]], most: int) -> Iterator[tuple[bytes | None, str]]:
    """Raises `ValueError` once the images have more bytes: a file can repeat one as often as it likes."""
    n_bytes = 0
    for encoded, path in rows:
        n_bytes += len(encoded or b"")
        if n_bytes > most:
            raise ValueError(f"its images have more than {most:,} bytes, many times what the file says")
        yield encoded, path


def first_images(source: Source, column: str, n: int) -> list[tuple[bytes | None, str]]:
    """The first of a file. Raises `DataError` where they cannot be read."""
    return list(islice(_images(source, column), n))


def _at(path: Path, row: int) -> bytes:
    with path.open("rb") as file:
        file.seek(OFFSET.itemsize * row)
        start, end = np.frombuffer(file.read(2 * OFFSET.itemsize), OFFSET).tolist()
        file.seek(start)
        return file.read(end - start)


def _opened(source: Source) -> Any:
    if state_of(source.path) != source.state:
        raise DataError(f"{source.path}: was changed after it had been opened; run this again")
    return open_file(source.path)
