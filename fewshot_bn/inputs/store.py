"""The store: every image of a dataset decoded, resized and cropped once, as uint8 in one HDF5 file per geometry.

`pixels` [n h w 3] lies in one piece in the file, with room for all rows from the start (a sparse file: rows that are
not filled take no space). `filled` [n] says which rows are there, `crc32` [n] is of their pixels and `looks` [n] is how
the images looked when they were decoded; `ids`, `labels` and `class_names` make the file useful by itself. Processes
write rows straight to their place in the file, and rows are read from there, without the HDF5 library, which would copy
them and crash where a disk is full.

A row counts as filled only when its pixels have reached the disk, so a killed run loses seconds of work and nothing
half-made is ever read. One run fills at a time; others wait for it, and find its rows.

The name of the file holds a key made of everything that changes pixels: the dataset as it lies on this disk, geometry,
PIL's version and the code that decodes. Changed files make another store.
"""

import io
import json
import os
import time
import weakref
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.errors import DataError, StoreError
from fewshot_bn.files.atomic import (
    BINARY,
    check_free,
    code_digest,
    digest,
    locked,
    make_folder,
    plain_name,
    read_at,
    replacing,
    write_at,
)
from fewshot_bn.inputs.decoding import Decoding, reasons_in_words
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.raster import Look
from fewshot_bn.workers import map_rows

FORMAT = 4  # format 1 had no checksums, format 2 no looks, format 3 facts of another type
LOOK = np.dtype([("bits", "u1"), ("peak", "<u2"), ("is_black", "?"), ("is_white", "?"), ("sample", "<u4")])
CODE = ("preprocessing.py", "raster.py", "files/tiff.py")  # that decides what pixels are
COMMIT_S = 0.5
HEADER_BYTES = 2**26  # more than the names of a million images


class Store:
    """The pixels of a dataset's rows under one geometry. `path` is its file, which need not be there yet."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, folder: Path) -> None:
        self._dataset, self._preprocessing = dataset, preprocessing
        self._side = preprocessing.crop_px
        self.row_bytes = 3 * self._side**2
        self._key = digest([FORMAT, code_digest(*CODE), dataset.stamp, preprocessing.geometry, version("pillow")])
        self._family = f"{plain_name(dataset.name)}_{preprocessing.geometry}_"
        self.path = folder / f"{self._family}{self._key[:16]}.h5"
        self._filled = np.zeros(len(dataset), bool)
        self._file: int | None = None
        self._crc32 = np.zeros(len(dataset), np.uint32)
        self._looks = np.zeros(len(dataset), LOOK)
        self._checked = np.zeros(len(dataset), bool)  # rows whose checksum this process has seen to be right
        self._pixels_at = self._filled_at = self._crc32_at = self._looks_at = 0
        if self.path.exists():
            self._open()

    @property
    def n_filled(self) -> int:
        return int(self._filled.sum())

    @property
    def looks(self) -> dict[int, Look]:
        """How the images looked that are in the store, by row."""
        rows = np.flatnonzero(self._filled)
        return {row: Look(*values) for row, values in zip(rows.tolist(), self._looks[rows].tolist(), strict=True)}

    @property
    def notices(self) -> list[str]:
        """Which stores of this dataset are of no use any more, or belong to another tree of the same name."""
        others = sorted(path for path in self.path.parent.glob(f"{self._family}*.h5") if path != self.path)
        return [
            f"{path} is of other files than those of today, or of another PIL or code, and not used: delete it, unless "
            "other data of this name need it"
            for path in others
        ]

    def absent(self, rows: Int64[ndarray, "n"]) -> Bool[ndarray, "n"]:
        """Which of `rows` are not in the store."""
        absent: Bool[ndarray, "n"] = ~self._filled[rows]
        return absent

    def missing(self, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "m"]:
        """Those of `rows` that are not in the store, each once."""
        return np.unique(rows[self.absent(rows)])

    def read(self, row: int, into: UInt8[ndarray, "h w 3"]) -> None:
        """Copy the pixels of a row that is in the store. Raises `StoreError` where the file has been cut off."""
        assert self._file is not None  # noqa: S101 - a row that is in the store has a file
        if not read_at(self._file, into.data, self._pixels_at + row * self.row_bytes):
            raise StoreError(f"{self.path}: this store is damaged (cut off); delete it")
        if not self._checked[row]:
            if zlib.crc32(into.data) != self._crc32[row]:
                name = self._dataset.ids[row]
                raise StoreError(
                    f"{self.path}: this store is damaged (wrong checksum of {name!r}, row {row}); delete it"
                )
            self._checked[row] = True

    def fill(self, rows: Int64[ndarray, "n"], *, n_workers: int | None = None) -> Iterator[int]:
        """Decode those of `rows` that are missing; yields the number of images done, every few.

        Raises `DataError` that names images that cannot be read, after all others are in the store, and `StoreError`
        where the disk is full; what was done by then is kept.
        """
        if not len(self.missing(rows)):
            return
        try:
            make_folder(self.path.parent)
            lock = self.path.with_name(f".{self.path.name}.lock")
            with locked(lock, f"another run is filling {self.path}; waiting for it"):
                if not self.path.exists():
                    self._create(len(self.missing(rows)) * self.row_bytes)
                self._open()
                yield from self._decode(self._dataset.in_reading_order(self.missing(rows)), n_workers)
        except OSError as problem:
            raise StoreError(
                f"{self.path}: this store cannot be written: {problem.strerror}; {self.n_filled:,} images are kept in "
                "it, and the same command goes on from there; FEWSHOT_BN_CACHE names another folder"
            ) from problem

    def _decode(self, rows: Int64[ndarray, "n"], n_workers: int | None) -> Iterator[int]:
        check_free(self.path.parent, len(rows) * self.row_bytes, StoreError)
        unreadable: list[tuple[int, str]] = []
        done: list[int] = []
        decoding = Decoding(self.path, self._pixels_at, self._dataset.read, self._preprocessing)
        with ThreadPoolExecutor(1) as committer:  # the disk writes while images are decoded
            pending, due = committer.submit(self._commit, []), time.monotonic() + COMMIT_S
            try:
                for part, found in map_rows(decoding, rows, n_workers, in_memory=self._dataset.in_memory):
                    done += sorted(set(part) - {row for row, _ in found.bad})
                    unreadable += found.bad
                    self._crc32[list(found.crc32)] = list(found.crc32.values())
                    for row, look in found.looks.items():
                        self._looks[row] = astuple(look)
                    if pending.done() and time.monotonic() > due:
                        pending.result()
                        pending, due, done = committer.submit(self._commit, done), time.monotonic() + COMMIT_S, []
                    yield len(part)
            finally:
                pending.result()
                self._commit(done)
        if unreadable:
            raise DataError(reasons_in_words(self._dataset, unreadable))

    def _commit(self, done: list[int]) -> None:
        """Count rows as filled, once they are on the disk."""
        assert self._file is not None  # noqa: S101 - opened by fill
        write_at(self._file, self._crc32.tobytes(), self._crc32_at)
        write_at(self._file, self._looks.tobytes(), self._looks_at)
        os.fsync(self._file)
        self._filled[done] = True
        with self.path.open("r+b", buffering=0) as file:
            file.seek(self._filled_at)
            file.write(self._filled.astype(np.uint8).tobytes())

    def _open(self) -> None:
        """Open the file and see which rows are filled."""
        if self._file is None:
            self._pixels_at, self._filled_at, self._crc32_at, self._looks_at = self._check()
            writable = os.access(self.path, os.W_OK)
            self._file = os.open(self.path, (os.O_RDWR if writable else os.O_RDONLY) | BINARY)
            weakref.finalize(self, os.close, self._file)
        flags = np.empty(len(self._filled), np.uint8)
        read_at(self._file, flags.data, self._filled_at)
        self._filled = flags > 0
        read_at(self._file, self._crc32.data, self._crc32_at)
        read_at(self._file, self._looks.view(np.uint8).data, self._looks_at)

    def _create(self, n_bytes: int) -> None:
        """Make the file, for so many bytes to come."""
        import h5py

        check_free(self.path.parent, n_bytes + HEADER_BYTES, StoreError)
        memory = io.BytesIO()  # a full disk or a limit must not meet the HDF5 library, which crashes on it
        with h5py.File(memory, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs.update({name: np.bytes_(fact.encode()) for name, fact in self._facts().items()})
            for key, names in (("ids", self._dataset.ids), ("class_names", self._dataset.class_names)):
                file[key] = np.array([name.encode("utf-8", "surrogateescape") for name in names])
            file["labels"] = self._dataset.labels
            file["filled"] = np.zeros(len(self._dataset), np.uint8)
            file["crc32"], file["looks"] = self._crc32, self._looks
            in_one_piece = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            in_one_piece.set_layout(h5py.h5d.CONTIGUOUS)
            in_one_piece.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            in_one_piece.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((len(self._dataset), self._side, self._side, 3))
            pixels = h5py.h5d.create(file.id, b"pixels", h5py.h5t.NATIVE_UINT8, space, in_one_piece)
            end = pixels.get_offset() + len(self._dataset) * self.row_bytes
            del pixels
        with replacing(self.path) as half_made:
            half_made.write_bytes(memory.getvalue())
            os.truncate(half_made, end)

    def _facts(self) -> dict[str, str]:
        return {
            "key": self._key,
            "dataset": self._dataset.name,
            "fingerprint": self._dataset.fingerprint,
            "geometry": self._preprocessing.geometry,
            "versions": json.dumps({"pillow": version("pillow"), "fewshot_bn": version("fewshot_bn")}),
        }

    def _check(self) -> tuple[int, ...]:
        """Where the parts lie in the file. Raises `StoreError` where it is not a whole store of this key."""
        import h5py

        shape = (len(self._dataset), self._side, self._side, 3)
        try:
            with h5py.File(self.path, "r") as file:
                found = file.attrs["format"]
                whole = _text(file, "key") == self._key and file["pixels"].shape == shape
                places = tuple(file[name].id.get_offset() for name in ("pixels", "filled", "crc32", "looks"))
        except (OSError, LookupError, RuntimeError, AttributeError, TypeError, ValueError) as problem:
            raise StoreError(f"{self.path}: not a whole store, or a damaged one ({problem}); delete it") from problem
        if found != FORMAT:
            raise StoreError(f"{self.path}: this store is of format {found}, format {FORMAT} is needed; delete it")
        if not whole or None in places:
            raise StoreError(f"{self.path}: this store is of other files or sizes than its name says; delete it")
        return places


def _text(file: Any, name: str) -> str:
    """An attribute of fixed length, else nothing: damage to others leads the HDF5 library in circles."""
    fixed = file.attrs.get_id(name).dtype.kind == "S"
    return bytes(file.attrs[name]).decode("ascii", "replace") if fixed else ""
