"""What an episode is: its shape, and a list of episodes as arrays of dataset rows. Indices only, never pixels.

Episodes need not be alike: where one has fewer classes than another, or a class fewer images, `NO_ROW` fills the end.

Shapes: classes [E way], support [E way n_support], query [E way n_query]; dataset rows, int64.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.errors import UsageError

NO_ROW = int(np.iinfo(np.int64).min)  # not -1, which is the mistake that others make


@dataclass(frozen=True, slots=True)
class EpisodeShape:
    """How many classes, and how many support and query images of each, or of a class on average."""

    n_way: int = 5
    n_support: int = 5
    n_query: int = 15

    def __post_init__(self) -> None:
        for name, value, least in (
            ("n_way", self.n_way, 2),
            ("n_support", self.n_support, 1),
            ("n_query", self.n_query, 1),
        ):
            if value < least:
                raise UsageError(f"{name} is {value}; an episode needs at least {least}")


@dataclass(frozen=True, slots=True)
class Episodes:
    """A list of episodes as arrays of dataset rows, no wider than the largest of its episodes needs."""

    classes: Int64[ndarray, "e way"]
    support: Int64[ndarray, "e way n_support"]
    query: Int64[ndarray, "e way n_query"]

    def __post_init__(self) -> None:
        n_way = _width(self.classes)
        for name in ("classes", "support", "query"):
            rows = getattr(self, name)[:, :n_way]
            object.__setattr__(self, name, rows[..., : _width(rows)])

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, part: slice) -> "Episodes":
        return Episodes(self.classes[part], self.support[part], self.query[part])

    def check(self, labels: Int64[ndarray, "n"]) -> None:
        """Raise `UsageError` for the first that is none of the dataset with these labels of its rows.

        An image that occurs twice, or is of another class than `classes` says, gives accuracies of nothing; and a class
        without a support image cannot be told.
        """
        sides = self.support, self.query
        real = [rows != NO_ROW for rows in sides]
        other = [
            there & (labels[np.where(there, rows, 0)] != self.classes[..., None])
            for there, rows in zip(real, sides, strict=True)
        ]
        wrong = np.concatenate(other, 2).any((1, 2))
        if wrong.any():
            raise UsageError(f"episode {wrong.argmax()}: its images are not of its classes; is it of another dataset?")
        rows = np.sort(np.concatenate([rows.reshape(len(self), -1) for rows in sides], 1), 1)
        twice = ((rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != NO_ROW)).any(1)
        if twice.any():
            raise UsageError(f"episode {twice.argmax()}: an image occurs twice")
        lacking = ((self.n_support == 0) & (self.classes != NO_ROW)).any(1) | (self.n_query.sum(1) == 0)
        if lacking.any():
            raise UsageError(f"episode {lacking.argmax()}: it has no query, or no support image of one of its classes")

    @property
    def n_support(self) -> Int64[ndarray, "e way"]:
        """Support images of each class; 0 of one that the episode does not have."""
        counts: Int64[ndarray, "e way"] = (self.support != NO_ROW).sum(2)
        return counts

    @property
    def n_query(self) -> Int64[ndarray, "e way"]:
        """Queries of each class."""
        counts: Int64[ndarray, "e way"] = (self.query != NO_ROW).sum(2)
        return counts

    @property
    def is_uniform(self) -> bool:
        """Whether all classes of all episodes have the same numbers of images."""
        return not any((rows == NO_ROW).any() for rows in (self.classes, self.support, self.query))

    @property
    def sizes(self) -> Int64[ndarray, "e 3"]:
        """How many classes, support images and queries each episode has in all."""
        return np.stack([(self.classes != NO_ROW).sum(1), self.n_support.sum(1), self.n_query.sum(1)], 1)

    @property
    def alike(self) -> "Episodes":
        """The first ones, as many as have the same sizes one after another: they fit into arrays together."""
        sizes = self.sizes
        same = (sizes == sizes[:1]).all(1)
        return self if same.all() else self[: int(same.argmin())]

    def flat(self, role: Literal["support", "query"]) -> tuple[Int64[ndarray, "e n"], Int64[ndarray, "e n"]]:
        """The rows of episodes that are alike, one class after another, and the places 0..way-1 of their classes."""
        rows: Int64[ndarray, "e way n"] = getattr(self, role)
        real, places = rows != NO_ROW, np.arange(rows.shape[1])[:, None]
        labels = np.broadcast_to(places, rows.shape)[real]
        return rows[real].reshape(len(self), -1), labels.reshape(len(self), -1)

    @property
    def rows(self) -> Int64[ndarray, "n"]:
        """Every row that occurs, once, in order."""
        found = np.unique(np.concatenate([self.support.ravel(), self.query.ravel()]))
        real: Int64[ndarray, "n"] = found[found != NO_ROW]
        return real

    @property
    def seeds(self) -> list[int]:
        """One number per episode for whatever an adapter draws: a function of the episode's support rows alone."""
        rows = (of_one[of_one != NO_ROW] for of_one in self.support)
        digests = [hashlib.sha256(of_one.astype("<i8").tobytes()).digest() for of_one in rows]
        return [int.from_bytes(digest[:8], "little") >> 1 for digest in digests]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows of all episodes, equal exactly for equal lists."""
        digest = hashlib.sha256()
        for rows in (self.classes, self.support, self.query):
            digest.update(repr(rows.shape).encode())
            digest.update(rows.astype("<i8").tobytes())
        return digest.hexdigest()


def stacked(
    classes: Sequence[Sequence[int]],
    support: Sequence[Sequence[Sequence[int]]],
    query: Sequence[Sequence[Sequence[int]]],
) -> Episodes:
    """Episodes from the classes of each and, class by class, the rows of their images."""
    n_way = max(map(len, classes))
    places = np.full((len(classes), n_way), NO_ROW, np.int64)
    for own, filled in zip(classes, places, strict=True):
        filled[: len(own)] = own
    return Episodes(places, _stacked(support, n_way), _stacked(query, n_way))


def _stacked(images: Sequence[Sequence[Sequence[int]]], n_way: int) -> Int64[ndarray, "e way n"]:
    n = max(len(of_class) for episode in images for of_class in episode)
    rows = np.full((len(images), n_way, n), NO_ROW, np.int64)
    for e, episode in enumerate(images):
        for way, of_class in enumerate(episode):
            rows[e, way, : len(of_class)] = of_class
    return rows


def _width(rows: Int64[ndarray, "e *way n"]) -> int:
    """Columns up to the last that holds a row."""
    if not rows.size or (rows[..., -1] != NO_ROW).any():
        return int(rows.shape[-1])
    used = (rows != NO_ROW).any(tuple(range(rows.ndim - 1)))
    return int(used.nonzero()[0].max(initial=-1)) + 1
