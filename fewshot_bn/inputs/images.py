"""The pixels of a dataset's rows: from the store or decoded on demand, gathered, and normalised on the device.

Shapes: pixels [n 3 h w], uint8 in channels-last order, as they lie in the store.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from fewshot_bn.datasets import Dataset
from fewshot_bn.datasets.dataset import Finding
from fewshot_bn.datasets.looks import findings
from fewshot_bn.errors import DataError
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, fitted
from fewshot_bn.raster import Look, decoded, look_at, reason_of, unreadable
from fewshot_bn.runtime import in_layout
from fewshot_bn.workers import n_cores

RESIDENT_SHARE = 0.25  # of the free memory of a GPU, for pixels that stay there
READ_AT_ONCE = 64
ELSEWHERE = np.iinfo(np.int64).max  # a place that nothing can be read from; -1 would be the last


class Images:
    """The pixels of a dataset's rows.

    With a `store`, rows that it holds are read from it. Others are decoded on demand and kept in at most `cache_bytes`
    of host memory.
    """

    def __init__(
        self, dataset: Dataset, preprocessing: Preprocessing, *, store: Store | None = None, cache_bytes: int = 2**30
    ) -> None:
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.store = store
        self._row_bytes = 3 * preprocessing.crop_px**2
        self._room = cache_bytes // self._row_bytes
        self._kept: dict[int, UInt8[ndarray, "h w 3"]] = {}
        self._resident: dict[torch.device, tuple[Int64[ndarray, "n"], UInt8[Tensor, "m 3 h w"]]] = {}
        self._looks: dict[int, Look] = {}  # of rows that were decoded outside of the store
        self._n_looked_at = (0, 0)
        self._said: set[str] = set()
        self._pool = ThreadPoolExecutor(n_cores(), thread_name_prefix="decode")

    def missing(self, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "m"]:
        """Those of `rows` that the store could hold but does not."""
        return rows[:0] if self.store is None else self.store.missing(rows)

    def fill(self, rows: Int64[ndarray, "n"]) -> Iterator[int]:
        """Decode those of `rows` that are missing into the store; yields the number of images done, every few."""
        if self.store is not None:
            yield from self.store.fill(rows)

    def findings(self) -> Iterator[Finding]:
        """What is odd about the images that have been decoded by now, each thing once, whatever its numbers."""
        n_stored = 0 if self.store is None else self.store.n_filled
        if (n_stored, len(self._looks)) == self._n_looked_at:
            return
        self._n_looked_at = n_stored, len(self._looks)
        stored = {} if self.store is None else self.store.looks
        for finding in findings(self.dataset, stored | self._looks):
            thing = re.sub(r"[\d,]+", "", finding.text)
            if thing not in self._said:
                self._said.add(thing)
                yield finding

    def reside(self, rows: Int64[ndarray, "n"], device: torch.device, *, most_bytes: int | None = None) -> bool:
        """Keep the pixels of `rows` in the memory of `device`; False, and nothing done, where that is too much.

        By default they may take a share of the free memory of a GPU, and nothing of the host's.
        """
        rows = np.unique(rows)
        if device in self._resident and (self._resident[device][0][rows] != ELSEWHERE).all():
            return True
        if most_bytes is None:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
            most_bytes = int(RESIDENT_SHARE * free)
        if len(rows) * self._row_bytes > most_bytes:
            return False
        side = self.preprocessing.crop_px
        pixels = torch.empty(len(rows), side, side, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
        for start in range(0, len(rows), READ_AT_ONCE):
            pixels[start : start + READ_AT_ONCE] = self._from_host(rows[start : start + READ_AT_ONCE]).to(device)
        place = np.full(len(self.dataset), ELSEWHERE)
        place[rows] = np.arange(len(rows))
        self._resident[device] = place, pixels
        return True

    def gather(self, rows: Int64[ndarray, "n"], device: torch.device | None = None) -> UInt8[Tensor, "n 3 h w"]:
        """The pixels of `rows`: on `device` where they reside there, else on the host.

        Raises `DataError` that names the first image that cannot be read, or a row that is none.
        """
        self.dataset.check_rows(rows)
        if device in self._resident:
            place, pixels = self._resident[device]
            if (place[rows] != ELSEWHERE).all():
                return pixels[torch.from_numpy(place[rows]).to(pixels.device)]
        return self._from_host(rows)

    def _from_host(self, rows: Int64[ndarray, "n"]) -> UInt8[Tensor, "n 3 h w"]:
        side = self.preprocessing.crop_px
        out = np.empty((len(rows), side, side, 3), np.uint8)
        absent = np.ones(len(rows), bool)
        if self.store is not None:
            absent = self.store.absent(rows)
            places = np.flatnonzero(~absent)
            parts = [places[start : start + READ_AT_ONCE] for start in range(0, len(places), READ_AT_ONCE)]
            list(self._pool.map(partial(_read_stored, self.store, out, rows), parts))
        places = np.flatnonzero(absent)
        for place, pixels in zip(places, self._pool.map(self._pixels, rows[places].tolist()), strict=True):
            out[place] = pixels
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _pixels(self, row: int) -> UInt8[ndarray, "h w 3"]:
        pixels = self._kept.get(row)
        if pixels is None:
            pixels = self._decode(row)
            if len(self._kept) < self._room:
                self._kept[row] = pixels
        return pixels

    def _decode(self, row: int) -> UInt8[ndarray, "h w 3"]:
        try:
            raster = decoded(self.dataset.read(row))
            pixels = np.asarray(fitted(raster.image, self.preprocessing))
        except unreadable() as problem:
            raise DataError(
                f"{self.dataset.name}: image {self.dataset.ids[row]!r} (row {row}) cannot be read: "
                f"{reason_of(problem)}; get this file again or remove it"
            ) from problem
        if row not in self._looks:
            self._looks[row] = look_at(raster, pixels.tobytes())
        return pixels


def _read_stored(
    store: Store, out: UInt8[ndarray, "n h w 3"], rows: Int64[ndarray, "n"], places: Int64[ndarray, "m"]
) -> None:
    for place, row in zip(places.tolist(), rows[places].tolist(), strict=True):
        store.read(row, out[place])


def normalise(
    pixels: UInt8[Tensor, "n 3 h w"], preprocessing: Preprocessing, device: torch.device
) -> Float[Tensor, "n 3 h w"]:
    """Pixels as float32 on `device` with the mean and std the backbone was trained with, in the layout for it."""
    mean, std = (torch.tensor(values, device=device) for values in (preprocessing.mean, preprocessing.std))
    x = pixels.to(device).to(torch.float32).div_(255)
    n, _, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = x.permute(0, 2, 3, 1).view(n, h, 3 * w)  # loops over 3 channels are slow, those over a row are not
        rows.sub_(mean.repeat(w)).div_(std.repeat(w))
    else:
        x.sub_(mean[:, None, None]).div_(std[:, None, None])
    return in_layout(x)
