"""Images in one .npy file and their labels in another beside it, as CIFAR-10.1 and CIFAR-10-C are published.

The labels of `fog.npy` are in `labels.npy`, those of `x_data.npy` or `x_images.npy` in `x_labels.npy`. Numbers are
named by the lines of `classes.txt` beside them. Without it, files or folders that are called like CIFAR-10 or
CIFAR-100, and have as many classes, have its classes in the published order. In folders that are called like
CIFAR-10-C, the images are of five severities of corruption, one after the other, which become groups.

Images stay in the file, of which rows are read when they are needed.
Sources: Recht et al. 2018, arXiv:1806.00451; Hendrycks and Dietterich 2019, arXiv:1903.12261.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from fewshot_bn.datasets.card import read_dataset_card, shipped_cards
from fewshot_bn.datasets.listed import read_text
from fewshot_bn.errors import DataError

CLASSES = "classes.txt"
IMAGES_LAST = re.compile(r"(?:data|images|x)$", re.IGNORECASE)
CIFAR = re.compile(r"cifar[-_ ]?(100?)(?:[-_ .].*)?", re.IGNORECASE)
CORRUPTED = re.compile(r"cifar[-_ ]?100?[-_ ]?c(?:[-_ ].*)?", re.IGNORECASE)
N_SEVERITIES = 5


def arrays_of_pair(path: Path) -> dict[str, Any]:
    """The arrays of an image file and of its labels. Raises `DataError` where there are no labels beside it."""
    labels = _labels_of(path)
    arrays: dict[str, Any] = {"images": _mapped(path), "labels": _mapped(labels)}
    if names := _class_names(path, arrays["labels"]):
        arrays["class_names"] = np.array(names)
    n = len(arrays["images"]) if arrays["images"].ndim else 0
    if CORRUPTED.fullmatch(path.absolute().parent.name) and n and n % N_SEVERITIES == 0:
        severities = [f"severity {k}" for k in range(1, N_SEVERITIES + 1)]
        arrays["groups"] = np.repeat(severities, n // N_SEVERITIES)
    return arrays


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _labels_of(path: Path) -> Path:
    names = dict.fromkeys([IMAGES_LAST.sub("labels", path.stem) + ".npy", "labels.npy"])
    names.pop(path.name, None)
    for name in names:
        if path.with_name(name).is_file():
            return path.with_name(name)
    raise DataError(
        f"{path}: is one array, and there are no labels beside it: {' or '.join(names)} is needed; or write images and "
        "labels into one file: np.savez(path, images=…, labels=…)"
    )


def _class_names(path: Path, labels: ndarray) -> list[str]:
    """What the numbers stand for; nothing where that is not known."""
    if path.with_name(CLASSES).is_file():
        return [line.strip() for line in read_text(path.with_name(CLASSES)).splitlines() if line.strip()]
    found = CIFAR.fullmatch(path.stem) or CIFAR.fullmatch(path.absolute().parent.name)
    if not found or labels.dtype.kind not in "iu":
        return []
    classes = list(read_dataset_card(shipped_cards()[f"cifar{found[1]}"]).classes)
    return classes if np.array_equal(np.unique(labels), np.arange(len(classes))) else []
