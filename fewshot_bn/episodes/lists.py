"""A list of episodes that was kept: which images of which classes, to be turned into rows of a dataset.

An image is its id in the dataset, or its rank: its place, from 0, among the images of its class sorted by id. Ranks
hold for everyone with the full data. Support and query images are in an order of which every front is an episode with
fewer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.episodes.episode import Episodes, EpisodeShape, stacked
from fewshot_bn.errors import DataError, UsageError, some

Role = Literal["support", "query"]
Image = str | int
ROLES: tuple[Role, ...] = ("support", "query")


@dataclass(frozen=True, slots=True)
class ListedEpisode:
    """The classes of an episode by name, and class by class its images, by id or rank."""

    classes: tuple[str, ...]
    support: tuple[tuple[Image, ...], ...]
    query: tuple[tuple[Image, ...], ...]

    def images(self, role: Role, n: int | None = None) -> Iterator[tuple[str, Image]]:
        """Class and image of the first `n` images of every class, or of all."""
        for of_class in self.by_class(role, n):
            yield from of_class

    def by_class(self, role: Role, n: int | None = None) -> list[list[tuple[str, Image]]]:
        """As `images`, one list for each class."""
        of_classes = zip(self.classes, getattr(self, role), strict=True)
        return [[(class_name, image) for image in images[:n]] for class_name, images in of_classes]


@dataclass(frozen=True, slots=True)
class EpisodeList:
    """The episodes of the file `path`, whose content has the digest `fingerprint`.

    `header` is what the file says of how they were drawn; `class_sizes` are those of the data that ranks hold for.
    """

    path: Path
    fingerprint: str
    listed: tuple[ListedEpisode, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    class_sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def shape(self) -> EpisodeShape | None:
        """That of all episodes; None where the header says that they vary."""
        first = self.listed[0]
        if self.header.get("varies") is True:
            return None
        return EpisodeShape(len(first.classes), len(first.support[0]), len(first.query[0]))

    def episodes(self, dataset: Dataset, shape: EpisodeShape | None = None, n_episodes: int | None = None) -> Episodes:
        """The rows of the first episodes, by default of all, with as many images as `shape` says, by default all.

        Raises `DataError` where the dataset is not the one that the list was made for, and `UsageError` for a shape
        that the list does not hold.
        """
        shape, n = shape or self.shape, len(self.listed) if n_episodes is None else n_episodes
        self._check(shape, n)
        row_of = self._row_of(dataset)
        absent = self._absent(row_of)
        if absent:
            raise DataError(f"{self.path}: {some(absent)}: not in the data{_like(dataset)}")
        place = {name: k for k, name in enumerate(dataset.class_names)}
        listed = self.listed[:n]
        classes = [[place[name] for name in episode.classes] for episode in listed]
        sizes = (shape.n_support, shape.n_query) if shape else (None, None)
        support, query = (
            [[[row_of[image] for image in of_class] for of_class in episode.by_class(role, size)] for episode in listed]
            for role, size in zip(ROLES, sizes, strict=True)
        )
        return stacked(classes, support, query)

    def absent(self, dataset: Dataset) -> list[str]:
        """The images that are not in the dataset, or not of the class that the list says."""
        return self._absent(self._row_of(dataset))

    def _absent(self, row_of: Mapping[tuple[str, Image], int]) -> list[str]:
        images = {image for episode in self.listed for role in ROLES for image in episode.images(role)}
        return sorted(f"{image} ({class_name})" for class_name, image in images - row_of.keys())

    def problems(self) -> Iterator[str]:
        """Episodes that hold an image or a class twice, or are not of the shape of the first if that is to be so."""
        shape = self.shape
        for number, episode in enumerate(self.listed):
            images = [image for role in ROLES for image in episode.images(role)]
            sizes = {(len(s), len(q)) for s, q in zip(episode.support, episode.query, strict=True)}
            if len(set(images)) != len(images):
                yield f"episode {number}: an image occurs twice"
            if len(set(episode.classes)) != len(episode.classes):
                yield f"episode {number}: a class occurs twice"
            if shape is None:
                if len(episode.classes) < 2 or not any(episode.query) or not all(episode.support):
                    yield f"episode {number}: it lacks a second class, a query, or the support images of a class"
            elif len(episode.classes) != shape.n_way or sizes != {(shape.n_support, shape.n_query)}:
                yield f"episode {number}: its classes or images are not as many as those of the first episode"

    def _check(self, shape: EpisodeShape | None, n_episodes: int) -> None:
        problem = next(self.problems(), None)
        if problem:
            raise DataError(f"{self.path}: {problem}")
        own = self.shape
        if own is None and shape is not None:
            raise UsageError(f"{self.path}: holds episodes that have shapes of their own; it has none of {shape}")
        if (
            own
            and shape
            and (shape.n_way != own.n_way or shape.n_support > own.n_support or shape.n_query > own.n_query)
        ):
            raise UsageError(
                f"{self.path}: holds {own.n_way}-way episodes of up to {own.n_support} support and {own.n_query} query "
                f"images, not {shape.n_way}-way {shape.n_support}-shot {shape.n_query}-query ones"
            )
        if not 1 <= n_episodes <= len(self.listed):
            raise UsageError(f"{self.path}: holds {len(self.listed)} episodes, not {n_episodes}; lower --n-episodes")

    def _row_of(self, dataset: Dataset) -> dict[tuple[str, Image], int]:
        """The row of each image, by its class and its id or rank."""
        names = [dataset.class_names[label] for label in dataset.labels]
        if not self.class_sizes:
            return {(name, image): row for row, (name, image) in enumerate(zip(names, dataset.ids, strict=True))}
        sizes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
        if sizes != self.class_sizes:
            wrong = [f"{k} {sizes.get(k, 0):,} of {n:,}" for k, n in self.class_sizes.items() if sizes.get(k, 0) != n]
            raise DataError(
                f"{self.path}: its ranks hold for the full data only; images that are there: {some(wrong)}; draw "
                "episodes of your own, or get the full data"
            )
        ranks = np.concatenate([np.arange(size) for size in dataset.class_sizes]).tolist()
        return {(name, rank): row for row, (name, rank) in enumerate(zip(names, ranks, strict=True))}


def _like(dataset: Dataset) -> str:
    """How images and classes of a dataset are called, for those who wrote a list by other means."""
    return f", whose images are called like {dataset.ids[0]} ({dataset.class_names[dataset.labels[0]]})"
