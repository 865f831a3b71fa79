"""Splits for many-shot work: training, validation and test images.

A split comes with the files, or is drawn: 60 % of each class for training, 20 % for validation, 20 % for testing, a
pure function of (class sizes, seed). Where the files have no validation images, 20 % of each class's training images
are taken.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn import rng
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.errors import DataError

TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a dataset; `official` where the files say which, else drawn."""

    train: Int64[ndarray, "n_train"]
    val: Int64[ndarray, "n_val"]
    test: Int64[ndarray, "n_test"]
    official: bool


def split_of(dataset: Dataset, seed: int) -> Split:
    """Raises `DataError` for a class with too few images to be split."""
    splits = np.full(len(dataset), TRAIN) if dataset.splits is None else dataset.splits.copy()
    official = dataset.splits is not None
    if official and not (splits == TEST).any():
        raise DataError(
            f"{dataset.name}: has training and validation images, but no test images, which many-shot work needs: add "
            "them (a folder test, or that split), or give all images without splits, to have 20 % drawn"
        )
    shares = {} if official else {TEST: 0.2}
    if not official or not (splits == VAL).any():
        shares[VAL] = 0.2 if official else 0.25  # of what is left after the test images
    for part, share in shares.items():
        for k, name in enumerate(dataset.class_names):
            rows = np.flatnonzero((dataset.labels == k) & (splits == TRAIN))
            n = max(1, round(share * len(rows)))
            if n == len(rows) or not len(rows):
                needed = "2 training images of each class, or a folder val" if official else "3 images of each class"
                raise DataError(
                    f"{dataset.name}: class {name!r} has {len(rows)} training images left, too few to take validation "
                    f"or test images from; a many-shot split needs at least {needed}"
                )
            splits[rows[rng.permutation(len(rows), seed, "split", part, k)[:n]]] = part
    train, val, test = (np.flatnonzero(splits == part) for part in (TRAIN, VAL, TEST))
    return Split(train, val, test, official)
