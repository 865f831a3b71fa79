"""Decode rows of a dataset, each to its place in a file; what processes do that fill a store. Needs no torch."""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.files.atomic import BINARY, write_at
from fewshot_bn.preprocessing import Preprocessing, fitted
from fewshot_bn.raster import Look, decoded, look_at, reason_of, unreadable

NAMED = 10  # unreadable images in an error


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows that cannot be read, with the reason; of the others how they look, and the checksum of their pixels."""

    bad: list[tuple[int, str]]
    looks: dict[int, Look]
    crc32: dict[int, int]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Reads images with `read`, and writes their pixels one after the other from byte `start` of the file `path` on."""

    path: Path
    start: int
    read: Callable[[int], bytes]
    preprocessing: Preprocessing

    def __call__(self, rows: list[int]) -> Decoded:
        """Write those of `rows` that can be read. Raises `OSError` on a full disk."""
        done = Decoded([], {}, {})
        file = os.open(self.path, os.O_WRONLY | BINARY)
        try:
            for row in rows:
                try:
                    raster = decoded(self.read(row))
                    pixels = fitted(raster.image, self.preprocessing).tobytes()
                except unreadable() as problem:
                    done.bad.append((row, reason_of(problem)))
                    continue
                done.looks[row], done.crc32[row] = look_at(raster, pixels), zlib.crc32(pixels)
                write_at(file, pixels, self.start + row * len(pixels))
        finally:
            os.close(file)
        return done


def reasons_in_words(dataset: Dataset, bad: list[tuple[int, str]]) -> str:
    """Which rows of a dataset cannot be read, why, and what to do."""
    named = [f"{dataset.ids[row]!r} (row {row}) {reason}" for row, reason in sorted(bad)[:NAMED]]
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    n_images = "1 image" if len(bad) == 1 else f"{len(bad):,} images"
    return (
        f"{dataset.name}: {n_images} cannot be read: {'; '.join(named)}{more}; get these files again or "
        "remove them. All other images are in the store"
    )
