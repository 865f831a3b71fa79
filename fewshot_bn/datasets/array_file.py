"""A file of arrays, HDF5 or NPZ: opened when it is first read, again in every process, and never trusted.

Rows of HDF5 are read when they are needed; NPZ files are held in memory and may have 1 GiB.
"""

import contextlib
import functools
import lzma
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

from fewshot_bn.datasets.rows import SPLITS
from fewshot_bn.errors import DataError

MOST_BYTES_OF_NPZ = 2**30
KEYS = {"images": ("images", "x", "X", "data"), "labels": ("labels", "y", "Y", "targets"), "groups": ("groups",)}
PREFIXES = ("", *(f"{split}_" for split in SPLITS))
KNOWN = {"class_names", *(prefix + name for prefix in PREFIXES for names in KEYS.values() for name in names)}
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

    @functools.cached_property
    def arrays(self) -> Mapping[str, Any]:
        """Raises `DataError` where the file cannot be read, or was changed."""
        with self.reading():
            arrays = _load_npz(self.path) if self.path.suffix.lower() == ".npz" else _open_hdf5(self.path)
        if self._state() != self.state:
            raise DataError(f"{self.path}: was changed after it had been opened; run this again")
        return arrays

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
            raise DataError(f"{self.path}: this file of arrays cannot be read: {reason}") from problem

    def _state(self) -> State:
        with self.reading():
            state = self.path.stat()
        return State(state.st_ino, state.st_size, state.st_mtime_ns)


def _open_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    # A row of a compressed file may lie in hundreds of chunks, which hold the rows after it too.
    file = h5py.File(path, "r", rdcc_nbytes=2**26, rdcc_nslots=100_003)
    items = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    return {name: item for name, item in items.items() if item.shape is not None and item.dtype.kind}


def _load_npz(path: Path) -> dict[str, Any]:
    """Its arrays; those of names that mean nothing here are not read, and may be anything."""
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(item.file_size for item in archive.infolist() if item.filename.removesuffix(".npy") in KNOWN)
    if n_bytes > MOST_BYTES_OF_NPZ:
        raise DataError(
            f"{path}: holds {n_bytes / 2**30:.1f} GiB, which would have to be in memory; write it as HDF5, whose rows "
            "are read when they are needed"
        )
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] if name in KNOWN else None for name in arrays.files}
    return {name: item for name, item in found.items() if item is None or isinstance(item, ndarray)}
