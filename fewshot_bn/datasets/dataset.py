"""A dataset as every other part sees it: rows in canonical order, and a way to read the encoded image of a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.errors import DataError

Metric = Literal["top-1", "mean-per-class", "map"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of a dataset, as a sentence that may name the first cases; `cases` are all of them.

    What `is_wrong` does not keep the dataset from being used, but is not as it should be, and `verify` says so.
    """

    text: str
    cases: tuple[str, ...] = ()
    is_wrong: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images, sorted by class index and then by id, so that row numbers mean the same everywhere.

    `fingerprint` stands for the classes, ids and file sizes (of arrays: some of the pixels) that were found and is the
    same on every machine; `stamp` also changes when a file is written again, so caches of this machine are keyed by it.
    `read` can be pickled, and is small then unless the images are `in_memory`.
    `card` is the digest (below) of the card's file, where there is one, and `n_on_card` the number of images it states.
    `splits` says of each row whether it is meant for training (0), validation (1) or test (2), where the files say so;
    `groups` names what each image is of, e.g. the lesion or the patient, where the files say so; `metric` is what
    many-shot work on this dataset reports, `first_resize_px` what preset cdfsl resizes its images to first.
    `places` are given where reading many rows is much sooner done in their order.
    `notices` are things a person should know of, such as "a subset: 1,000 of 27,000 images"; `problems` are what keeps
    the dataset from being used, such as empty files.
    """

    name: str
    class_names: tuple[str, ...]
    labels: Int64[ndarray, "n"]
    ids: tuple[str, ...]
    read: Callable[[int], bytes]
    fingerprint: str
    stamp: str
    notices: tuple[Finding, ...] = ()
    problems: tuple[Finding, ...] = ()
    n_on_card: int | None = None
    card: str = ""
    splits: Int64[ndarray, "n"] | None = None
    groups: tuple[str, ...] | None = None
    metric: Metric = "top-1"
    first_resize_px: int = 0
    in_memory: bool = False
    places: Int64[ndarray, "n"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def check_rows(self, rows: Any) -> None:
        """Raise `DataError` for the first that is no row: numpy would take -1 for the last, and True for row 1.

        `rows` is an array of whole numbers, of any shape; another kind of thing is a `DataError` too.
        """
        if not isinstance(rows, ndarray):
            raise DataError(f"{self.name}: rows are a {type(rows).__name__}; an array of numpy is needed")
        if rows.dtype.kind not in "iu":
            raise DataError(f"{self.name}: rows are of type {rows.dtype}; whole numbers are needed")
        wrong = rows[(rows < 0) | (rows >= len(self.ids))]
        if wrong.size:
            raise DataError(f"{self.name}: there is no row {wrong.flat[0]}; rows are 0 to {len(self.ids) - 1}")

    def in_reading_order(self, rows: Int64[ndarray, "m"]) -> Int64[ndarray, "m"]:
        return rows if self.places is None else rows[np.argsort(self.places[rows], kind="stable")]

    @property
    def class_sizes(self) -> list[int]:
        sizes: list[int] = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return sizes
