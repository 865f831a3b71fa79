"""What is asked of each class of torchvision: one line per class, all of it in this file.

Some of it is private there; it was looked up in versions 0.21 to 0.29.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from fewshot_bn.datasets.rows import SPLITS
from fewshot_bn.errors import DataError, unknown

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What a class of torchvision needs, and where it keeps what it has found.

    `tree` is a folder that has to be there, `splits` the arguments for each split (see `SPLITS`; -1: there are none).
    `images` gives the path of each image, or its pixels, and the number of its class; None where it is left out.
    """

    tree: str
    splits: Mapping[int, Mapping[str, Any]]
    images: Callable[[Any], Iterable[tuple[Any, Any]]]
    classes: Callable[[Any], Iterable[str]] = lambda data: data.classes
    in_memory: bool = False


def _splits(**names: str) -> dict[int, dict[str, Any]]:
    return {SPLITS[split]: {"split": name} for split, name in names.items()}


def _listed(data: Any) -> Iterable[tuple[Any, Any]]:
    return zip(data._image_files, data._labels, strict=True)  # noqa: SLF001 - there is no public list


def _pets(data: Any) -> Iterable[tuple[Any, Any]]:
    return zip(data._images, data._labels, strict=True)  # noqa: SLF001


def _cars(data: Any) -> Iterable[tuple[Any, Any]]:
    pairs: Iterable[tuple[Any, Any]] = data._samples  # noqa: SLF001
    return pairs


def _caltech(data: Any) -> Iterable[tuple[Any, Any]]:
    for k, label in zip(data.index, data.y, strict=True):
        yield Path(data.root) / "101_ObjectCategories" / data.categories[label] / f"image_{k:04d}.jpg", label


def _cifar(folder: str) -> Known:
    # These files are pickles, and unpickling runs what a file says. The classes compare the md5 of every batch
    # (_check_integrity) and of the names (_load_meta) with that of the published file before they unpickle it.
    splits = {SPLITS["train"]: {"train": True}, SPLITS["test"]: {"train": False}}
    return Known(folder, splits, lambda data: zip(data.data, data.targets, strict=True), in_memory=True)


def _voc(data: Any) -> Iterable[tuple[Any, Any]]:
    return zip(data.images, map(_only_class, data.annotations), strict=True)


def _only_class(annotation: str) -> int | None:
    """The number of the one class that an image shows; None for several, or none. Difficult objects do not count."""
    path = Path(annotation)
    try:
        text = path.read_text(encoding="utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DataError(f"{path}: has a DOCTYPE or an ENTITY, which no annotation needs; unpack the archive again")
        objects = ET.fromstring(text).findall("object")  # noqa: S314 - without entities nothing expands
    except (OSError, UnicodeDecodeError, ET.ParseError) as problem:
        raise DataError(f"{path}: this annotation cannot be read: {problem}; unpack the archive again") from problem
    names = {str(item.findtext("name")) for item in objects if item.findtext("difficult", "0").strip() != "1"}
    if not names <= set(VOC_CLASSES):
        raise DataError(f"{path}: {unknown('class', min(names - set(VOC_CLASSES)), VOC_CLASSES)}")
    return VOC_CLASSES.index(names.pop()) if len(names) == 1 else None


TRAIN_TEST = _splits(train="train", test="test")
TRAIN_VAL_TEST = _splits(train="train", val="val", test="test")
DTD_SPLITS = {k: {"split": split, "partition": 1} for split, k in SPLITS.items()}
PETS_SPLITS = _splits(train="trainval", test="test")
VOC_SPLITS = {k: {"year": "2007", "image_set": split} for split, k in SPLITS.items()}
NUMBERS = [str(k) for k in range(1, 103)]  # as torchvision 0.21 does not name the flowers
CALTECH = "caltech101/101_ObjectCategories/BACKGROUND_Google"  # torchvision asks for this folder, to leave it out

KNOWN = {
    "CIFAR10": _cifar("cifar-10-batches-py"),
    "CIFAR100": _cifar("cifar-100-python"),
    "Caltech101": Known(CALTECH, {-1: {}}, _caltech, lambda data: data.categories),
    "DTD": Known("dtd/dtd", DTD_SPLITS, _listed),
    "FGVCAircraft": Known("fgvc-aircraft-2013b", TRAIN_VAL_TEST, _listed),
    "Flowers102": Known("flowers-102", TRAIN_VAL_TEST, _listed, lambda data: getattr(data, "classes", NUMBERS)),
    "Food101": Known("food-101", TRAIN_TEST, _listed),
    "OxfordIIITPet": Known("oxford-iiit-pet", PETS_SPLITS, _pets),
    "SUN397": Known("SUN397", {-1: {}}, _listed),
    "StanfordCars": Known("stanford_cars", TRAIN_TEST, _cars),
    "VOCDetection": Known("VOCdevkit/VOC2007", VOC_SPLITS, _voc, lambda _: VOC_CLASSES),
}
