"""A file of arrays, HDF5, NPZ or NPY: opened when it is first read, again in every process, and never trusted.

Rows of HDF5 and NPY are read when they are needed; NPZ files are held in memory and may have 1 GiB.
"""

import contextlib
import functools
import lzma
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from fewshot_bn.datasets.array_names import KEYS, KNOWN, canonical
from fewshot_bn.datasets.hdf5 import Contents, open_hdf5
from fewshot_bn.datasets.npy_pairs import arrays_of_pair
from fewshot_bn.errors import DataError

NPY = ".npy"
MOST_BYTES_OF_NPZ = 2**30
OPEN_FOR_WRITING = re.compile(r"unable to lock file|already open for write")
# What numpy and h5py raise for damaged files, beside ValueError and OSError.
DAMAGED = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError),
    *(tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True, slots=True)
class State:
    """What tells a file from what another one may put in its place."""

    inode: int
    n_bytes: int
    modified_ns: int


class ArrayFile:
    """A file, and its arrays by name, which are read when they are asked for; pickled, it is its path and state."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.state = self._state()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "state": self.state}

    @property
    def arrays(self) -> Mapping[str, Any]:
        """Raises `DataError` where the file cannot be read, or was changed."""
        return self.contents.arrays

    @functools.cached_property
    def contents(self) -> Contents:
        """Raises what `arrays` raises."""
        with self.reading():
            contents = _open(self.path)
            if beside := _labels_beside(self.path, contents):
                contents = Contents({**_open(beside).arrays, **contents.arrays})
        if self._state() != self.state:
            raise DataError(f"{self.path}: was changed after it had been opened; run this again")
        return contents

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong when the file is read, as a `DataError`."""
        try:
            yield
        except DAMAGED as problem:
            reason = " ".join(str(problem).split()) or type(problem).__name__
            if "Object arrays" in reason:
                reason = (
                    "it holds pickled objects of Python, which could run code; write plain numbers and text instead"
                )
            if isinstance(problem, BlockingIOError) or OPEN_FOR_WRITING.search(reason):
                reason = (
                    "another program has it open for writing; close it there (or, if that program crashed, run h5clear "
                    "-s on the file)"
                )
            raise DataError(f"{self.path}: this file of arrays cannot be read: {reason}") from problem

    def _state(self) -> State:
        with self.reading():
            state = self.path.stat()
        return State(state.st_ino, state.st_size, state.st_mtime_ns)


def _open(path: Path) -> Contents:
    if path.suffix.lower() == NPY:
        return Contents(arrays_of_pair(path))
    return Contents(_load_npz(path)) if path.suffix.lower() == ".npz" else open_hdf5(path)


def _labels_beside(path: Path, contents: Contents) -> Path | None:
    """The file of the labels, where that is another one: `train_y.h5` beside `train_x.h5`, as PCam has them."""
    if not path.stem.endswith("_x") or any(name in contents.arrays for name in KEYS["labels"]):
        return None
    other = path.with_name(f"{path.stem[:-1]}y{path.suffix}")
    return other if other.is_file() else None


def _load_npz(path: Path) -> dict[str, Any]:
    """Its arrays; those of names that mean nothing here are not read, and may be anything."""
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(item.file_size for item in archive.infolist() if _known(item.filename.removesuffix(".npy")))
    if n_bytes > MOST_BYTES_OF_NPZ:
        raise DataError(
            f"{path}: holds {n_bytes / 2**30:.1f} GiB, which would have to be in memory; write it as HDF5, whose rows "
            "are read when they are needed"
        )
    with np.load(path, allow_pickle=False) as arrays:
        found = {canonical(name): arrays[name] if _known(name) else None for name in arrays.files}
    return {name: item for name, item in found.items() if item is None or isinstance(item, ndarray)}


def _known(name: str) -> bool:
    return canonical(name) in KNOWN
