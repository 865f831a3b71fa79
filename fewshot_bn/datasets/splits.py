"""Splits for many-shot work: training, validation and test images.

A split comes with the files, from a list (split_lists.py), or is drawn: 60 % of each class for training, 20 % for
validation, 20 % for testing, a pure function of (class sizes, seed). Where files or list have no validation images,
20 % of each class's training images are taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn import rng
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.split_lists import splits_of_list
from fewshot_bn.errors import DataError, some

TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a dataset; `official` where the files say which, else drawn or those of a list: `origin`, in words."""

    train: Int64[ndarray, "n_train"]
    val: Int64[ndarray, "n_val"]
    test: Int64[ndarray, "n_test"]
    official: bool
    origin: str = ""


def split_of(dataset: Dataset, seed: int, listed: Path | None = None) -> Split:
    """By the list `listed`, as the files say, or drawn.

    Raises `DataError` for a class without training images, or with too few images to be split, and where there are no
    test images.
    """
    given = splits_of_list(listed, dataset) if listed else dataset.splits
    where = str(listed) if listed else dataset.name
    if given is None:
        splits = np.full(len(dataset), TRAIN)
        shares, needed = {TEST: 0.2, VAL: 0.25}, "3 images of each class"  # of what is left after the test images
    else:
        splits = given.copy()
        _check_test_images(where, splits, is_list=listed is not None)
        shares = {} if (splits == VAL).any() else {VAL: 0.2}
        needed = f"2 training images of each class, or a {'split' if listed else 'folder'} val"
    _check_classes(where, dataset, splits)
    for part, share in shares.items():
        for k, name in enumerate(dataset.class_names):
            rows = np.flatnonzero((dataset.labels == k) & (splits == TRAIN))
            n = max(1, round(share * len(rows)))
            if n == len(rows):
                raise DataError(
                    f"{where}: class {name!r} has {len(rows)} training images left, too few to take validation or test "
                    f"images from; a many-shot split needs at least {needed}"
                )
            splits[rows[rng.permutation(len(rows), seed, "split", part, k)[:n]]] = part
    train, val, test = (np.flatnonzero(splits == part) for part in (TRAIN, VAL, TEST))
    said = "" if given is None else f"as {listed} says" if listed else "as the files say"
    drawn = f"{'validation images ' if said else ''}drawn with seed {seed}" if shares else ""
    origin = ", ".join(part for part in (said, drawn) if part)
    return Split(train, val, test, given is not None and listed is None, origin)


def _check_test_images(where: str, splits: Int64[ndarray, "n"], *, is_list: bool) -> None:
    if not (splits == TEST).any():
        add = "give some lines the split test" if is_list else "add them (a folder test, or that split)"
        without = "leave --split out" if is_list else "give all images without splits"
        raise DataError(
            f"{where}: has training and validation images, but no test images, which many-shot work needs: {add}, or "
            f"{without}, to have 20 % drawn"
        )


def _check_classes(where: str, dataset: Dataset, splits: Int64[ndarray, "n"]) -> None:
    """Raises `DataError` for classes of which nothing can be learnt."""
    sizes = np.bincount(dataset.labels[splits == TRAIN], minlength=len(dataset.class_names))
    without = [repr(name) for name, n in zip(dataset.class_names, sizes.tolist(), strict=True) if not n]
    if without:
        classes = f"class {without[0]} has" if len(without) == 1 else f"classes {some(without)} have"
        raise DataError(
            f"{where}: {classes} no training images, so they could not be told from the others; give each class some, "
            "or use data without these classes"
        )


def split_per_class(dataset: Dataset, seed: int, n: int) -> Split:
    """`n` images of each class for training, a fifth of them for validation, and all others for testing.

    So Caltech 101 is split, 30 of each class (Kornblith et al. 2019, arXiv:1805.08974, appendix). Raises `DataError`
    for a class that has no more than `n`.
    """
    splits = np.full(len(dataset), TEST)
    for k, name in enumerate(dataset.class_names):
        rows = np.flatnonzero(dataset.labels == k)
        if len(rows) <= n:
            raise DataError(
                f"{dataset.name}: class {name!r} has {len(rows)} images, too few for {n} to train on and one to test; "
                "lower --per-class"
            )
        chosen = rows[rng.permutation(len(rows), seed, "split per class", k)[:n]]
        splits[chosen], splits[chosen[: max(1, round(0.2 * n))]] = TRAIN, VAL
    train, val, test = (np.flatnonzero(splits == part) for part in (TRAIN, VAL, TEST))
    return Split(train, val, test, official=False, origin=f"{n} of each class drawn with seed {seed}")


def numbers_of(split: Split, n: int) -> Int64[ndarray, "n"]:
    """The number of its split for each of `n` rows; -1 for those in none."""
    numbers = np.full(n, -1, np.int64)
    for number, rows in ((TRAIN, split.train), (VAL, split.val), (TEST, split.test)):
        numbers[rows] = number
    return numbers


def findings(dataset: Dataset, split: Split) -> Iterator[Finding]:
    """What is to be said of a split: images that take no part, and classes that are not tested."""
    n_none = len(dataset) - sum(map(len, (split.train, split.val, split.test)))
    if n_none:
        yield Finding(f"{dataset.name}: {n_none:,} of {len(dataset):,} images are in no split and take no part")
    sizes = np.bincount(dataset.labels[split.test], minlength=len(dataset.class_names))
    if untested := tuple(name for name, n in zip(dataset.class_names, sizes.tolist(), strict=True) if not n):
        n = "1 class has" if len(untested) == 1 else f"{len(untested):,} classes have"
        text = f"{dataset.name}: {n} no test images: {some(untested)}; means over classes are over the others"
        yield Finding(text, untested)
