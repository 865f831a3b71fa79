"""Frozen features: each image goes through a backbone once, in all runs, and its features are kept on disk.

The cache is a folder for each (backbone, dataset as it lies on this disk, preprocessing, kind of device). It holds
parts, HDF5 files of rows and their features. A part is written under another name and then renamed, so a killed run,
a full disk or two runs at once leave whole parts or none. Runs that compute the same rows at once look at each other's
parts before they write their own, so every row is kept once; where two parts hold the same row, the first read counts.

Features of a row do not depend on what it is batched with: every batch is filled up to one fixed size. So the first
images to be computed are some of all parts of the data, for the input check (input_check.py).
"""

import hashlib
import io
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor

import fewshot_bn
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import DataError, DeviceError, is_out_of_memory
from fewshot_bn.files.atomic import code_digest, digest, locked, make_folder, read_file, replace_file
from fewshot_bn.host_memory import return_freed_memory
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.input_check import InputCheck
from fewshot_bn.runtime import in_plain_torch
from fewshot_bn.workers import one_ahead

FORMAT = 3
CODE = (  # that decides what features are
    "preprocessing.py",
    "raster.py",
    "files/tiff.py",
    "runtime.py",
    "backbones/backbone.py",
    "backbones/networks",
    "backbones/padding.py",
    "inputs/images.py",
    "inputs/features.py",
)
BATCH = 64
CPU_PIXELS = 16 * 224**2  # of the images that go through a network together: the host's memory is bounded
CPU_IMAGES = 32  # at most: of 64, the values between layers leave the processor's cache
ROWS_PER_PART = 256
ROWS_PER_BLOCK = 4096  # of what is known: memory grows by blocks, and none is ever copied
SHA256_BYTES = 32
MOST_BYTES = 2**28  # of a part
UNKNOWN = np.iinfo(np.int64).max  # a place that nothing can be read from; -1 would be the last


def images_together(side: int, device: torch.device) -> int:
    """How many images of that side go through a network together, without gradients, to be fast in bounded memory."""
    return max(1, min(CPU_IMAGES, CPU_PIXELS // side**2)) if device.type == "cpu" else BATCH


class Features:
    """The features of a dataset under a backbone, computed where they are not yet known."""

    def __init__(self, images: Images, backbone: Backbone, *, device: torch.device, cache: Path | None = None) -> None:
        self.images, self.backbone, self._device = images, backbone, device
        software = [fewshot_bn.__version__, torch.__version__, version("pillow")]
        what = [backbone.fingerprint, images.dataset.stamp, images.preprocessing, device.type]
        key = digest([FORMAT, code_digest(*CODE), *software, *what])
        self._folder = cache / "features" / key[:32] if cache else None
        self._read = False
        self._forget()
        self.notices: list[str] = []
        self.check = InputCheck(images, backbone, device=device, folder=self._folder)

    @property
    def decoded_from(self) -> list[Images]:
        """The images that features are computed of."""
        return [self.images]

    @property
    def unchecked(self) -> bool:
        """Whether too few images have been looked at to say whether they are what the network was trained with."""
        return self.check.wanted

    def findings(self) -> Iterator[str]:
        """What the input check has found, once."""
        return self.check.findings()

    def missing(self, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "m"]:
        """Those of `rows` that no run has computed yet. Raises `DataError` where the cache is damaged."""
        if self._folder and not self._read:
            self._read_parts(self._folder)
            self._read = True
        self.images.dataset.check_rows(rows)
        return np.unique(rows[self._place[rows] == UNKNOWN])

    @in_plain_torch
    def compute(self, rows: Int64[ndarray, "n"]) -> Iterator[int]:
        """Make the features of `rows` known; yields the number of images done after each batch.

        Raises `DataError` where an image cannot be read or its features are not finite.
        """
        missing = self.check.order(self.missing(rows))
        while len(missing):
            part, rest = missing[:ROWS_PER_PART], missing[ROWS_PER_PART:]
            z = np.empty((len(part), self.backbone.dim), np.float32)
            batches = np.split(part, range(BATCH, len(part), BATCH))
            done = 0
            for batch, pixels in zip(batches, one_ahead(self.images.gather, batches), strict=True):
                z[done : done + len(batch)] = self._forward(batch, pixels)
                done += len(batch)
                yield len(batch)
            self.check.conclude()
            self._keep(part, z)
            missing = rest[self._place[rest] == UNKNOWN]
            if len(missing) < len(rest):  # another run has computed some meanwhile
                yield len(rest) - len(missing)

    def gather(self, rows: Int64[ndarray, "*shape"]) -> Float[Tensor, "*shape d"]:
        """Features of rows, on the device. Raises `DataError` where some have not been computed."""
        if len(missing := self.missing(rows.ravel())):
            dataset = self.images.dataset
            raise DataError(
                f"{dataset.name}: the features of {len(missing):,} images, such as {dataset.ids[missing[0]]!r} (row "
                f"{missing[0]}), have not been computed; call compute with these rows first"
            )
        place = self._place[rows]
        z = np.empty((*rows.shape, self.backbone.dim), np.float32)
        for k, block in enumerate(self._blocks):
            inside = place // ROWS_PER_BLOCK == k
            z[inside] = block[place[inside] % ROWS_PER_BLOCK]
        return torch.from_numpy(z).to(self._device)

    def _forward(self, rows: Int64[ndarray, "n"], pixels: Future[UInt8[Tensor, "n 3 h w"]]) -> Float32[ndarray, "n d"]:
        try:
            z = np.concatenate([self._through(part) for part in pixels.result().split(self.n_together)])
        except (MemoryError, RuntimeError) as problem:
            if not is_out_of_memory(problem):
                raise
            side = self.images.preprocessing.crop_px
            raise DeviceError(
                f"{self._device}: out of memory with {BATCH} images of {side} px at once; take smaller images "
                "(--image-size)"
            ) from problem
        bad = rows[~np.isfinite(z).all(1)]
        if len(bad):
            dataset = self.images.dataset
            raise DataError(
                f"{dataset.name}: the features of image {dataset.ids[bad[0]]!r} (row {bad[0]}) under "
                f"{self.backbone.name} are not finite"
            )
        return z

    def release(self) -> None:
        """Hold no features in memory if they lie in the cache, from which they are read again if they are needed."""
        if self._folder is not None:
            self._forget()
            return_freed_memory()

    def _forget(self) -> None:
        self._place = np.full(len(self.images.dataset), UNKNOWN)
        self._blocks: list[Float32[ndarray, "rows d"]] = []
        self._n_known = 0
        self._parts: set[str] = set()  # the names of those that have been read or written
        self._read = False

    def _through(self, pixels: UInt8[Tensor, "n 3 h w"]) -> Float32[ndarray, "n d"]:
        n, filled = len(pixels), pixels
        if n < self.n_together:
            filled = torch.cat([pixels, pixels.new_zeros(self.n_together - n, *pixels.shape[1:])])
        x = normalise(filled, self.images.preprocessing, self._device)
        with self.check.watching(pixels):
            z: Float32[ndarray, "n d"] = self.backbone.features(x)[:n].float().cpu().numpy()
        return z

    @property
    def n_together(self) -> int:
        """How many images go through the network together, always as many."""
        return images_together(self.images.preprocessing.crop_px, self._device)

    def _read_parts(self, folder: Path) -> None:
        """Take what parts hold that are new here."""
        for path in sorted(folder.glob("*.h5")):
            if path.name not in self._parts:
                self._add(*_read_part(path, len(self._place), self.backbone.dim))
                self._parts.add(path.name)

    def _add(self, rows: Int64[ndarray, "n"], z: Float32[ndarray, "n d"]) -> None:
        new = np.flatnonzero(self._place[rows] == UNKNOWN)
        while len(new):
            block, first = divmod(self._n_known, ROWS_PER_BLOCK)
            if block == len(self._blocks):
                self._blocks.append(np.empty((ROWS_PER_BLOCK, self.backbone.dim), np.float32))
            some, new = np.split(new, [ROWS_PER_BLOCK - first])
            self._blocks[block][first : first + len(some)] = z[some]
            self._place[rows[some]] = self._n_known + np.arange(len(some))
            self._n_known += len(some)

    def _keep(self, rows: Int64[ndarray, "n"], z: Float32[ndarray, "n d"]) -> None:
        """Make features known, and write those that no other run has written since."""
        if self._folder is not None:
            try:
                make_folder(self._folder)
                with locked(self._folder / ".lock"):
                    self._read_parts(self._folder)
                    new = self._place[rows] == UNKNOWN
                    if new.any():
                        self._write_part(self._folder, rows[new], z[new])
            except OSError as problem:
                self.notices.append(f"features are not kept for later runs: {self._folder}: {problem.strerror}")
                self._folder = None
        self._add(rows, z)

    def _write_part(self, folder: Path, rows: Int64[ndarray, "n"], z: Float32[ndarray, "n d"]) -> None:
        name = f"{rows[0]:09d}-{uuid.uuid4().hex}.h5"
        replace_file(folder / name, _encode_part(rows, z))
        self._parts.add(name)


def _encode_part(rows: Int64[ndarray, "n"], z: Float32[ndarray, "n d"]) -> bytes:
    """A part as an HDF5 file in memory, its SHA-256 behind it.

    A full disk must not meet the HDF5 library, which crashes on it, nor must damage, which may lead it in circles.
    """
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["rows"], file["z"] = rows, z
    return memory.getvalue() + hashlib.sha256(memory.getvalue()).digest()


def _read_part(path: Path, n_rows: int, dim: int) -> tuple[Int64[ndarray, "n"], Float32[ndarray, "n d"]]:
    import h5py

    try:
        content = read_file(path, MOST_BYTES)
        whole = hashlib.sha256(content[:-SHA256_BYTES]).digest() == content[-SHA256_BYTES:]
        if not whole:
            raise ValueError("wrong checksum")  # noqa: TRY301
        with h5py.File(io.BytesIO(content[:-SHA256_BYTES]), "r") as file:
            rows, z = np.array(file["rows"][:], np.int64), np.array(file["z"][:], np.float32)
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise DataError(f"{path}: this part of the feature cache is damaged ({problem}); delete it") from problem
    if rows.ndim != 1 or z.shape != (len(rows), dim) or not bool(((rows >= 0) & (rows < n_rows)).all()):
        raise DataError(f"{path}: this part of the feature cache is damaged (wrong shape); delete it")
    return rows, z
