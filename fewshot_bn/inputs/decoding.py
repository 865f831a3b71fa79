"""Decode rows of a dataset, each to its place in a file; what processes do that fill a store. Needs no torch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fewshot_bn.files.atomic import BINARY, write_at
from fewshot_bn.preprocessing import Preprocessing, image_of
from fewshot_bn.raster import reason_of, unreadable


@dataclass(frozen=True, slots=True)
class Decoding:
    """Reads images with `read`, and writes their pixels one after the other from byte `start` of the file `path` on."""

    path: Path
    start: int
    read: Callable[[int], bytes]
    preprocessing: Preprocessing

    def __call__(self, rows: list[int]) -> list[tuple[int, str]]:
        """Write `rows`; those that cannot be read are returned, with the reason. Raises `OSError` on a full disk."""
        bad = []
        file = os.open(self.path, os.O_WRONLY | BINARY)
        try:
            for row in rows:
                try:
                    pixels = image_of(self.read(row), self.preprocessing).tobytes()
                except unreadable() as problem:
                    bad.append((row, reason_of(problem)))
                    continue
                write_at(file, pixels, self.start + row * len(pixels))
        finally:
            os.close(file)
        return bad
