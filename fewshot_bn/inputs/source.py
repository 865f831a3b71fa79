"""What a run computes on: a dataset's images, a backbone, and the frozen features of the images under it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import StoreError, UsageError
from fewshot_bn.events import Note, Progress
from fewshot_bn.inputs.features import BATCH, Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.members import MemberFeatures


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that turns dataset rows into what an adapter takes.

    Raises `UsageError` for features of other images or another backbone than these, and images of another geometry
    than that of the backbone.
    """

    images: Images
    backbone: Backbone
    features: Features | MemberFeatures
    device: torch.device

    def __post_init__(self) -> None:
        if self.features.images is not self.images:
            raise UsageError(
                "the features of a source are of other images than its own; Features(images, …) makes them"
            )
        if self.features.backbone.fingerprint != self.backbone.fingerprint:
            own, other = self.backbone.name, self.features.backbone.name
            raise UsageError(f"the features of a source are those of backbone {other}, not of its own, {own}")
        if self.images.preprocessing != self.backbone.preprocessing:
            raise UsageError("the images of a source are not prepared as its backbone's preprocessing says")

    @property
    def subject(self) -> str:
        """Which images under which network, in words."""
        dataset, backbone = self.images.dataset, self.backbone
        sizes = sorted({one.preprocessing.crop_px for one in backbone.members or (backbone,)})
        return (
            f"{dataset.name} ({len(dataset):,} images, {len(dataset.class_names)} classes), "
            f"{backbone.name} ({backbone.weights}) at {' / '.join(map(str, sizes))} px"
        )


def decode_images(
    source: Source, rows: Int64[ndarray, "n"], devices: Sequence[torch.device]
) -> Iterator[Progress | Note]:
    """Have `rows` in the store, and in the memory of each GPU where they fit."""
    yield from fill_store(source.images, rows)
    for device in devices:
        source.images.reside(rows, device)


def fill_store(images: Images, rows: Int64[ndarray, "n"]) -> Iterator[Progress | Note]:
    """Bring `rows` into the store. Where the disk has no room, say so and go on without."""
    missing = images.missing(rows)
    if images.store is None or not len(missing):
        return
    yield from map(Note, images.store.notices)
    done = 0
    yield Progress("decoded images", "image", done, len(missing))
    try:
        for n_images in images.fill(missing):
            done += n_images
            yield Progress("decoded images", "image", done, len(missing))
        yield from notes_on_looks(images)
    except StoreError as problem:
        yield Note(f"images are decoded again whenever they are needed: {problem}")
        images.store = None


def notes_on_looks(images: Images) -> Iterator[Note]:
    """What is odd about the images that have been decoded, once."""
    for finding in images.findings():
        yield Note(str(finding))


def notes_on_input(features: Features | MemberFeatures) -> Iterator[Note]:
    """What the input check has found, once."""
    yield from map(Note, features.findings())


def check_input(source: Source, rows: Int64[ndarray, "n"]) -> Iterator[Progress | Note]:
    """Look at some of the images that a tuner is about to see, for a run that has no features computed."""
    if source.features.unchecked:
        some = np.unique(rows)
        yield from compute_features(source, some[np.linspace(0, len(some) - 1, min(BATCH, len(some))).astype(int)])
    yield from notes_on_input(source.features)


def compute_features(source: Source, rows: Int64[ndarray, "n"]) -> Iterator[Progress | Note]:
    """Make the features of `rows` known."""
    features = source.features
    missing = features.missing(rows)
    if len(missing):
        for images in features.decoded_from:
            yield from fill_store(images, missing)
        done = 0
        yield Progress("frozen features", "image", done, len(missing))
        for n_images in features.compute(missing):
            done += n_images
            yield Progress("frozen features", "image", done, len(missing))
            yield from notes_on_input(features)
    yield from notes_on_looks(source.images)
    yield from notes_on_input(features)
    yield from map(Note, features.notices)
    features.notices.clear()
