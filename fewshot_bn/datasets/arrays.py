"""Images as arrays in an HDF5 or NPZ file, as MedMNIST and many tools keep them.

`images` (or `x`, `data`) of shape [n h w], [n h w 1|3|4] or [n 1|3 h w], uint8, beside `labels` (or `y`, `targets`) of
shape [n] or [n 1]; optionally `groups` [n] and `class_names`. Or the same with the prefixes `train_`, `val_`, `test_`.
Rows of HDF5 are read when they are needed; NPZ files are held in memory and may have 1 GiB.
"""

import functools
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from fewshot_bn.datasets.dataset import Dataset, digest
from fewshot_bn.datasets.rows import SPLITS
from fewshot_bn.errors import DataError

SUFFIXES = (".npz", ".h5", ".hdf5")
KEYS = {"images": ("images", "x", "X", "data"), "labels": ("labels", "y", "Y", "targets"), "groups": ("groups",)}
MOST_BYTES_OF_NPZ = 2**30


class Part(NamedTuple):
    """The arrays of one split: the key of its images, how many there are, their labels and groups."""

    split: str
    key: str
    n: int
    labels: ndarray
    groups: ndarray | None


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """Reads a row as an encoded image: which array of the file, and which place in it."""

    path: Path
    keys: tuple[str, ...]
    part: Int64[ndarray, "n"]
    place: Int64[ndarray, "n"]

    def __call__(self, row: int) -> bytes:
        return encode(np.asarray(_arrays(self.path)[self.keys[self.part[row]]][self.place[row]]))


def open_arrays(path: Path) -> Dataset:
    """The images of an array file. Raises `DataError` where arrays are missing or of another form."""
    arrays = _arrays(path)
    parts = list(_parts(path, arrays))
    raw = np.concatenate([part.labels for part in parts])
    values, labels = np.unique(raw, return_inverse=True)
    names = _class_names(path, arrays, values)
    part = np.repeat(np.arange(len(parts)), [part.n for part in parts])
    place = np.concatenate([np.arange(part.n) for part in parts])
    order = np.lexsort((place, part, labels))
    ids = tuple(f"{parts[p].split}{place[i]:07d}" for i, p in zip(order, part[order], strict=True))
    splits = np.array([SPLITS.get(p.split.rstrip("/"), -1) for p in parts], np.int64)[part[order]]
    groups = [p.groups for p in parts if p.groups is not None]
    state = path.stat()
    labels = labels[order].astype(np.int64)
    fingerprint = digest([*names, labels.tobytes(), *ids, state.st_size])
    return Dataset(
        name=path.stem,
        class_names=names,
        labels=labels,
        ids=ids,
        read=ArrayReader(path, tuple(p.key for p in parts), part[order], place[order]),
        fingerprint=fingerprint,
        stamp=digest([fingerprint, state.st_mtime_ns]),
        splits=splits if (splits >= 0).all() else None,
        groups=tuple(map(_text, np.concatenate(groups)[order].tolist())) if len(groups) == len(parts) else None,
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


def _parts(path: Path, arrays: Mapping[str, Any]) -> Iterator[Part]:
    prefixes = {f"{split}/": f"{split}_" for split in SPLITS if _key(arrays, "images", f"{split}_")} or {"": ""}
    for split, prefix in prefixes.items():
        keys = {kind: _key(arrays, kind, prefix) for kind in KEYS}
        for kind in ("images", "labels"):
            if not keys[kind]:
                wanted = " or ".join(prefix + name for name in KEYS[kind])
                raise DataError(f"{path}: has no array {wanted}; it holds {', '.join(arrays) or 'nothing'}")
        images, labels = arrays[keys["images"]], np.asarray(arrays[keys["labels"]])
        _check(path, keys["images"], images)
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iuSUO":
            raise DataError(
                f"{path}: {keys['labels']} is of type {labels.dtype} and shape {list(labels.shape)}; whole numbers or "
                f"names of shape [{len(images)}] are needed"
            )
        groups = np.asarray(arrays[keys["groups"]]) if keys["groups"] else None
        if groups is not None and groups.shape != labels.shape:
            raise DataError(f"{path}: {keys['groups']} has shape {list(groups.shape)}, [{len(images)}] is needed")
        yield Part(split, keys["images"], len(images), labels, groups)


def _key(arrays: Mapping[str, Any], kind: str, prefix: str) -> str:
    return next((prefix + name for name in KEYS[kind] if prefix + name in arrays), "")


def _check(path: Path, key: str, images: Any) -> None:
    shape = list(images.shape)
    channels_fit = len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3, 4) or shape[1] in (1, 3)))
    if images.dtype != np.uint8 or not channels_fit or 0 in shape:
        raise DataError(
            f"{path}: {key} is of type {images.dtype} and shape {shape}; uint8 of shape [n h w], [n h w 3] or "
            "[n 3 h w] is needed: scale and convert it"
        )


def _class_names(path: Path, arrays: Mapping[str, Any], values: ndarray) -> tuple[str, ...]:
    if len(values) < 2:
        raise DataError(f"{path}: {len(values)} classes found, at least 2 are needed")
    if "class_names" not in arrays:
        return tuple(map(_text, values.tolist()))
    names = [_text(name) for name in np.asarray(arrays["class_names"]).tolist()]
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= len(names):
        raise DataError(f"{path}: has {len(names)} class_names, but labels from {values.min()} to {values.max()}")
    return tuple(names[value] for value in values)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@functools.lru_cache(maxsize=4)
def _arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of a file by name. Raises `DataError` where it cannot be read."""
    try:
        if path.suffix.lower() == ".npz":
            return _load_npz(path)
        import h5py

        file = h5py.File(path, "r")
        return {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as problem:
        raise DataError(f"{path}: this file of arrays cannot be read: {problem}") from problem


def _load_npz(path: Path) -> dict[str, ndarray]:
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(entry.file_size for entry in archive.infolist())
    if n_bytes > MOST_BYTES_OF_NPZ:
        raise DataError(
            f"{path}: holds {n_bytes / 2**30:.1f} GiB, which would have to be in memory; write it as HDF5, whose rows "
            "are read when they are needed"
        )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
