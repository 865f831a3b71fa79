"""Images as arrays in an HDF5 or NPZ file, as MedMNIST and many tools keep them.

`images` (or `x`, `data`) of shape [n h w], [n h w 1|3|4] or [n 1|3 h w], uint8, beside `labels` (or `y`, `targets`) of
shape [n] or [n 1]; optionally `groups` [n] and `class_names`. Or the same with the prefixes `train_`, `val_`, `test_`,
or in HDF5 groups that are called so. Or images in an NPY file and labels in another (npy_pairs.py).
Rows of HDF5 and NPY are read when they are needed; NPZ files are held in memory and may have 1 GiB.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from fewshot_bn.datasets.array_file import NPY, ArrayFile
from fewshot_bn.datasets.array_names import KEYS, PREFIXES
from fewshot_bn.datasets.array_values import conversion
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.hdf5 import texts_of
from fewshot_bn.datasets.listed import LONGEST
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import digest

SUFFIXES = (".npz", ".h5", ".hdf5", NPY)
MOST_ROWS = 20_000_000
MOST_PIXELS = 178_956_970  # above that PIL, too, takes an image for an attack
SAMPLED = 16  # images whose pixels are part of the fingerprint: the size of the file says little of them


@dataclass(frozen=True, slots=True)
class Part:
    """The arrays of one split: the key of its images, their labels and groups."""

    split: str
    key: str
    labels: ndarray
    groups: ndarray | None


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """Reads a row as an encoded image: which array of the file, and which place in it."""

    file: ArrayFile
    keys: tuple[str, ...]
    part: Int64[ndarray, "n"]
    place: Int64[ndarray, "n"]

    def __call__(self, row: int) -> bytes:
        return encode(self.pixels(row))

    def pixels(self, row: int) -> UInt8[ndarray, "*size"]:
        pixels = np.asarray(self.file.arrays[self.keys[self.part[row]]][self.place[row]])
        return pixels.reshape(image_shape(pixels.shape))


def open_arrays(path: Path) -> Dataset:
    """The images of an array file. Raises `DataError` where arrays are missing or of another form."""
    file = ArrayFile(path)
    parts = _parts(file)
    values, labels = np.unique(np.concatenate([part.labels for part in parts]), return_inverse=True)
    names = _class_names(file, values)
    part = np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts])
    place = np.concatenate([np.arange(len(part.labels)) for part in parts])
    order = np.lexsort((place, part, labels))
    part, place, labels = part[order], place[order], labels[order].astype(np.int64)
    ids = tuple(f"{parts[p].split}{i:07d}" for p, i in zip(part.tolist(), place.tolist(), strict=True))
    splits = np.array([split_number(p.split.rstrip("/")) for p in parts], np.int64)[part]
    groups = [p.groups for p in parts if p.groups is not None]
    read = ArrayReader(file, tuple(p.key for p in parts), part, place)
    sample = (read.pixels(row).tobytes() for row in range(0, len(ids), 1 + len(ids) // SAMPLED))
    with file.reading():
        fingerprint = digest(chain(names, [labels.astype("<i8").tobytes()], ids, [file.state.n_bytes], sample))
    return Dataset(
        name=path.stem,
        class_names=names,
        labels=labels,
        ids=ids,
        read=read,
        fingerprint=fingerprint,
        stamp=digest([fingerprint, file.state.modified_ns]),
        splits=splits if (splits >= 0).all() else None,
        groups=tuple(map(str, np.concatenate(groups)[order].tolist())) if groups else None,
        in_memory=path.suffix.lower() == ".npz",
    )


def encode(pixels: UInt8[ndarray, "*size"]) -> bytes:
    """One image as a file in memory: PGM or PPM, which cost no more than a copy, or PNG where it has transparency."""
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        return file.getvalue()
    height, width = pixels.shape[:2]
    return b"P%d %d %d 255\n" % (5 if pixels.ndim == 2 else 6, width, height) + pixels.tobytes()


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Without axes of length 1, where there are more than three."""
    return tuple(side for side in shape if side != 1) if len(shape) > 3 else tuple(shape)


def _parts(file: ArrayFile) -> list[Part]:
    prefixes = [prefix for prefix in PREFIXES if prefix and _key(file, "images", prefix)] or [""]
    parts = [_part(file, prefix) for prefix in prefixes]
    ungrouped = [part.key for part in parts if part.groups is None]
    if 0 < len(ungrouped) < len(parts):
        raise DataError(f"{file.path}: there are no groups of {some(ungrouped)}, but of others; give all or none")
    return parts


def _part(file: ArrayFile, prefix: str) -> Part:
    keys = {kind: _key(file, kind, prefix) for kind in KEYS}
    for kind in ("images", "labels"):
        if not keys[kind]:
            wanted = " or ".join(prefix + name for name in KEYS[kind])
            inside = [f"{name!r} (a group)" for name in file.contents.groups]
            found = some([*(repr(name) for name in file.arrays), *inside], 12) or "nothing"
            raise DataError(f"{file.path}: has no array {wanted}; it holds {found}")
    images = file.arrays[keys["images"]]
    shape = list(images.shape)
    one = image_shape(shape[1:])
    channels_fit = len(one) == 2 or (len(one) == 3 and (one[2] in (1, 3, 4) or one[0] in (1, 3)))
    if images.dtype != np.uint8 or not channels_fit or 0 in shape:
        raise DataError(
            f"{file.path}: {keys['images']} is of type {images.dtype} and shape {shape}; uint8 of shape [n h w], "
            f"[n h w 1|3|4] or [n 1|3 h w] is needed: {conversion(file, keys['images'])}"
        )
    n_pixels = math.prod(one) // (1 if len(one) == 2 else 3)
    if len(images) > MOST_ROWS or n_pixels > MOST_PIXELS:
        raise DataError(
            f"{file.path}: {keys['images']} is of shape {shape}; at most {MOST_ROWS:,} images, of "
            f"{MOST_PIXELS:,} pixels, are read"
        )
    labels = _column(file, keys["labels"], len(images))
    n_unknown = int((labels == -1).sum()) if labels.dtype.kind == "i" and (labels == 0).any() else 0
    if n_unknown:
        raise DataError(
            f"{file.path}: {n_unknown:,} of {keys['labels']} are -1, which stands for images without a label; leave "
            "these images out"
        )
    groups = _column(file, keys["groups"], len(images)) if keys["groups"] else None
    return Part(prefix.replace("_", "/"), keys["images"], labels, groups)


def _key(file: ArrayFile, kind: str, prefix: str) -> str:
    return next((prefix + name for name in KEYS[kind] if prefix + name in file.arrays), "")


def _column(file: ArrayFile, key: str, n: int) -> ndarray:
    """An array of `n` whole numbers or names."""
    array = file.arrays[key]
    shape, kind = list(array.shape), array.dtype.kind
    if shape[:1] == [n] and set(shape[1:]) <= {1} and kind in "iuSUO" and array.dtype.itemsize <= 4 * LONGEST:
        with file.reading():
            values: ndarray = (texts_of(array) if kind == "O" else np.asarray(array)).reshape(n)
        if kind in "iu":
            return values
        if all(isinstance(value, str | bytes) for value in values):
            return np.array([_text(value) for value in values.tolist()])
    raise DataError(
        f"{file.path}: {key} is of type {array.dtype} and shape {shape}; whole numbers or names of shape [{n}] are "
        "needed"
    )


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def _class_names(file: ArrayFile, values: ndarray) -> tuple[str, ...]:
    if len(values) < 2:
        raise DataError(f"{file.path}: {len(values)} classes found, at least 2 are needed")
    if "class_names" not in file.arrays:
        return tuple(map(str, values.tolist()))
    shape = file.arrays["class_names"].shape
    names: Sequence[str] = [str(name) for name in _column(file, "class_names", shape[0] if shape else len(values))]
    if values.dtype.kind not in "iu" or values[0] < 0 or values[-1] >= len(names):
        raise DataError(f"{file.path}: has {len(names)} class_names, but labels from {values[0]} to {values[-1]}")
    if len(set(names)) < len(names):
        raise DataError(f"{file.path}: class_names holds the same name twice; names that differ are needed")
    return tuple(names[value] for value in values)
