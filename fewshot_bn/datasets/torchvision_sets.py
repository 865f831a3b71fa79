"""Datasets that torchvision has a class for: the class finds the images and their labels, all its splits are pooled.

Nothing is downloaded, and no image is decoded while a dataset is opened.
"""

import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from fewshot_bn.datasets.arrays import encode
from fewshot_bn.datasets.card import DatasetCard
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.rows import SPLIT_NAMES, Row, assemble, repeated_ids
from fewshot_bn.datasets.torchvision_known import KNOWN, Known
from fewshot_bn.errors import DataError, some, unknown
from fewshot_bn.files.atomic import digest

DAMAGED = (RuntimeError, OSError, LookupError, ValueError, TypeError, EOFError, zlib.error, struct.error)

Image = tuple[Row, Any]  # and its path or pixels


@dataclass(frozen=True, slots=True)
class PixelReader:
    """Reads a row as an encoded image from pixels in memory."""

    pixels: UInt8[ndarray, "n h w 3"]

    def __call__(self, row: int) -> bytes:
        return encode(self.pixels[row])


def has_tree(card: DatasetCard, folder: Path) -> bool:
    """Whether `folder` holds the tree that the card's class of torchvision looks for."""
    return (folder / _known(card).tree).is_dir()


def open_torchvision(card: DatasetCard, folder: Path) -> Dataset:
    """The dataset of `card`; `folder` is what torchvision calls root.

    Raises `DataError` where the tree is absent or damaged, or torchvision is of a version with other attributes.
    """
    known = _known(card)
    if not has_tree(card, folder):  # asked for here, as Caltech101 would make the folder
        raise _unreadable(card, folder, f"there is no folder {known.tree}")
    folder = folder.absolute()
    class_names: dict[str, None] = {}
    images: list[Image] = []
    n_left_out = 0
    for split, arguments in known.splits.items():
        names, pairs = _contents(card, folder, arguments)
        class_names |= dict.fromkeys(names)
        for k, (what, label) in enumerate(pairs):
            if label is None:
                n_left_out += 1
                continue
            image_id = f"{SPLIT_NAMES[split]}/{k:05d}" if known.in_memory else _path_below(folder, what)
            images.append((Row(image_id, names[label], split=split), what))
    if known.in_memory:
        return _in_memory(card, list(class_names), images)
    notice = Finding(f"{card.name}: {n_left_out:,} images that do not show objects of exactly one class were left out")
    return _from_files(card, folder, list(class_names), images, notices=[notice] if n_left_out else [])


def _path_below(folder: Path, path: str | Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def _known(card: DatasetCard) -> Known:
    if card.torchvision not in KNOWN:
        raise DataError(f"{card.name}: {unknown('class of torchvision', card.torchvision, KNOWN)}")
    return KNOWN[card.torchvision]


def _construct(card: DatasetCard, folder: Path, arguments: Mapping[str, Any]) -> Any:
    """The object of torchvision for one split."""
    from scipy.io.matlab import MatReadError
    from torchvision import datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy and scipy, that these files are old
            return getattr(datasets, card.torchvision)(folder, **arguments)
    except (*DAMAGED, MatReadError) as problem:
        reason = " ".join(str(problem).removesuffix(" You can use download=True to download it").split())
        raise _unreadable(card, folder, f"{reason.rstrip('.')} ({type(problem).__name__})") from problem


def _contents(
    card: DatasetCard, folder: Path, arguments: Mapping[str, Any]
) -> tuple[list[str], list[tuple[Any, int | None]]]:
    """The names of the classes of one split, and each image with the number of its class."""
    known, data = _known(card), _construct(card, folder, arguments)
    try:
        names, pairs = list(known.classes(data)), list(known.images(data))
    except AttributeError as problem:
        import torchvision

        raise DataError(
            f"{card.name}: torchvision {torchvision.__version__}: {problem}; versions 0.21 to 0.29 have it, "
            "install one of these"
        ) from problem
    wrong = [f"{what} (class {label})" for what, label in pairs if label is not None and not 0 <= label < len(names)]
    if wrong:
        raise _unreadable(card, folder, f"it names {len(names)} classes, but lists {some(wrong)}")
    return names, pairs


def _unreadable(card: DatasetCard, folder: Path, reason: str) -> DataError:
    return DataError(
        f"{card.name}: torchvision's {card.torchvision} cannot read {folder}: {reason}. Expected tree: {card.tree}. "
        f"How to get it: {card.get}"
    )


def _from_files(
    card: DatasetCard, folder: Path, class_names: Sequence[str], images: Sequence[Image], *, notices: Sequence[Finding]
) -> Dataset:
    there, absent, problems = [], [], []
    for row, _ in images:
        try:
            there.append(row.located(row.id, (folder / row.id).stat()))
        except OSError:
            absent.append(row.id)
    if not there:
        raise _unreadable(card, folder, f"none of the {len(images):,} images that are listed is there")
    if absent:
        text = f"{card.name}: {len(absent):,} of {len(images):,} images are listed but not in {folder}: {some(absent)}"
        problems.append(Finding(f"{text}; unpack the archive again", tuple(absent)))
    repeated = repeated_ids(there)
    if repeated:
        text = f"{card.name}: {some(repeated)} in {folder}: listed more than once; unpack the archive again"
        problems.append(Finding(text, repeated))
    return assemble(card.name, folder, class_names, there, notices=notices, problems=problems)


def _in_memory(card: DatasetCard, class_names: Sequence[str], images: Sequence[Image]) -> Dataset:
    label_of = {class_name: k for k, class_name in enumerate(class_names)}
    images = sorted(images, key=lambda image: (label_of[image[0].class_name], image[0].id))
    rows = [row for row, _ in images]
    labels, ids = np.array([label_of[row.class_name] for row in rows], np.int64), tuple(row.id for row in rows)
    # The pixels need no part in it: torchvision has checked the md5 of the files that hold them.
    fingerprint = digest([*class_names, labels.astype("<i8").tobytes(), *ids])
    return Dataset(
        name=card.name,
        class_names=tuple(class_names),
        labels=labels,
        ids=ids,
        read=PixelReader(np.stack([pixels for _, pixels in images])),
        fingerprint=fingerprint,
        stamp=fingerprint,
        splits=np.array([row.split for row in rows], np.int64),
        in_memory=True,
    )
