"""What an episode is: its shape, and a list of episodes as arrays of dataset rows. Indices only, never pixels.

Shapes: classes [E way], support [E way n_support], query [E way n_query]; dataset rows, int64.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.errors import UsageError


@dataclass(frozen=True, slots=True)
class EpisodeShape:
    """How many classes, and how many support and query images of each."""

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
    """A list of episodes as arrays of dataset rows."""

    classes: Int64[ndarray, "e way"]
    support: Int64[ndarray, "e way n_support"]
    query: Int64[ndarray, "e way n_query"]

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, part: slice) -> "Episodes":
        return Episodes(self.classes[part], self.support[part], self.query[part])

    def check(self, labels: Int64[ndarray, "n"]) -> None:
        """Raise `UsageError` for the first that is none of the dataset with these labels of its rows.

        An image that occurs twice, or is of another class than `classes` says, gives accuracies of nothing.
        """
        sides = self.support, self.query
        other = np.concatenate([labels[rows] != self.classes[..., None] for rows in sides], 2).any((1, 2))
        if other.any():
            raise UsageError(f"episode {other.argmax()}: its images are not of its classes; is it of another dataset?")
        rows = np.sort(np.concatenate([rows.reshape(len(self), -1) for rows in sides], 1), 1)
        twice = (rows[:, 1:] == rows[:, :-1]).any(1)
        if twice.any():
            raise UsageError(f"episode {twice.argmax()}: an image occurs twice")

    @property
    def rows(self) -> Int64[ndarray, "n"]:
        """Every row that occurs, once, in order."""
        return np.unique(np.concatenate([self.support.ravel(), self.query.ravel()]))

    @property
    def seeds(self) -> list[int]:
        """One number per episode for whatever an adapter draws: a function of the episode's support rows alone."""
        digests = [hashlib.sha256(rows.astype("<i8").tobytes()).digest() for rows in self.support]
        return [int.from_bytes(digest[:8], "little") >> 1 for digest in digests]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows of all episodes, equal exactly for equal lists."""
        digest = hashlib.sha256()
        for rows in (self.classes, self.support, self.query):
            digest.update(repr(rows.shape).encode())
            digest.update(rows.astype("<i8").tobytes())
        return digest.hexdigest()
