"""Which images of a dataset are of the classes of another, by name: those that its classifiers can be tested on.

A class is that of the same name, or else that whose name differs in upper and lower case and in `_`, `-` and spaces
alone, or else that of another word for it (`WORDS`). Of a dataset with official splits these are test images, where it
has any.

Shapes: rows [n], labels [n].
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.splits import TEST
from fewshot_bn.errors import DataError, some

SHOWN = 8  # names of classes in a message
SEPARATORS = re.compile(r"[\s_-]+")
WORDS = {"automobile": "car", "aeroplane": "airplane", "motorbike": "motorcycle"}  # CIFAR-10, STL-10, VOC and COCO


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows of a dataset in ascending order, their classes as numbers of the other's, and what is to be said of them."""

    rows: Int64[ndarray, "n"]
    labels: Int64[ndarray, "n"]
    notes: tuple[str, ...]


def shared(dataset: Dataset, training: Dataset, *, only_shared: bool) -> Shared:
    """The images of `dataset` that classifiers of the classes of `training` can be tested on.

    Images of other classes are left out if `only_shared`. Raises `DataError` for such a class otherwise, for names that
    fit several, and where fewer than two classes are shared.
    """
    official = dataset.splits is not None and bool((dataset.splits == TEST).any())
    rows = np.flatnonzero(dataset.splits == TEST) if official else np.arange(len(dataset))
    sizes = np.bincount(dataset.labels[rows], minlength=len(dataset.class_names)).tolist()
    counts = {name: n for name, n in zip(dataset.class_names, sizes, strict=True) if n}
    names = _same(dataset.name, list(counts), training)
    others = {name: n for name, n in counts.items() if name not in names}
    if len(names) < 2:
        raise DataError(f"{dataset.name}: {_too_few(list(names), list(counts), training)}")
    listed = some([f"{name} ({n:,} images)" for name, n in others.items()], SHOWN)
    if others and not only_shared:
        raise DataError(
            f"{dataset.name}: has classes that {training.name}, which is trained on, lacks: {listed}; leave their "
            f"images out with --shared-classes, or call classes as there: {some(training.class_names, SHOWN)}"
        )
    place = {name: training.class_names.index(other) for name, other in names.items()}
    number = np.array([place.get(name, -1) for name in dataset.class_names])[dataset.labels[rows]]
    notes = []
    if official and len(rows) < len(dataset):
        notes.append(f"its {len(rows):,} test images, of {len(dataset):,}")
    if renamed := [f"{name} is {other}" for name, other in names.items() if name != other]:
        notes.append(f"classes that are called otherwise: {some(renamed, SHOWN)}")
    if others:
        notes.append(f"{sum(others.values()):,} images left out, of classes that {training.name} lacks: {listed}")
    kept = number >= 0
    return Shared(rows[kept], number[kept].astype(np.int64), tuple(f"{dataset.name}: {note}" for note in notes))


def _same(where: str, names: Sequence[str], training: Dataset) -> Mapping[str, str]:
    """The class of `training` that each of `names` stands for, without those that stand for none."""
    called: list[dict[str, list[str]]] = [{} for _ in FORMS]
    for form, names_of in zip(FORMS, called, strict=True):
        for name in training.class_names:
            names_of.setdefault(form(name), []).append(name)
    found: dict[str, str] = {}
    for name in names:
        fits = (names_of.get(form(name), []) for form, names_of in zip(FORMS, called, strict=True))
        fitting = next(filter(None, fits), [])
        if len(fitting) > 1:
            raise DataError(
                f"{where}: class {name!r} may be {' or '.join(map(repr, fitting))} of {training.name}; call it as the "
                "one that is meant"
            )
        found |= dict.fromkeys([name], fitting[0]) if fitting else {}
    for name in found.values():
        same = [repr(other) for other in found if found[other] == name]
        if len(same) > 1:
            raise DataError(
                f"{where}: classes {' and '.join(same)} would both be {name!r} of {training.name}; merge them, or "
                "rename one"
            )
    return found


def _spelling(name: str) -> str:
    return SEPARATORS.sub(" ", name).strip().casefold()


def _word(name: str) -> str:
    return WORDS.get(_spelling(name), _spelling(name))


FORMS: tuple[Callable[[str], str], ...] = (str, _spelling, _word)  # of a name, the first in which one fits counts


def _too_few(names: Sequence[str], classes: Sequence[str], training: Dataset) -> str:
    """What is wrong where `names`, of `classes`, are the only shared ones."""
    shares = f"only the class {names[0]!r}" if names else "no class"
    found = f"its classes are {some(classes, SHOWN)}, those of {training.name} {some(training.class_names, SHOWN)}"
    numbers = all(name.isdecimal() for name in classes) and not all(name.isdecimal() for name in training.class_names)
    advice = "numbers need names, such as an array class_names" if numbers else "call them alike"
    return f"shares {shares} with {training.name}, which is trained on; at least 2 are needed: {found}; {advice}"
