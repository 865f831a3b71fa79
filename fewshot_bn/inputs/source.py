"""From a request to what is computed on: the backbone, the images and their frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.config import Request
from fewshot_bn.console import Say, progress
from fewshot_bn.datasets import Dataset
from fewshot_bn.errors import StoreError
from fewshot_bn.files import paths
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import with_geometry


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that turns dataset rows into what an adapter takes."""

    images: Images
    backbone: Backbone
    features: Features
    device: torch.device


def subject(source: Source) -> str:
    """Which images under which network."""
    dataset, backbone = source.images.dataset, source.backbone
    return (
        f"{dataset.name} ({len(dataset):,} images, {len(dataset.class_names)} classes), "
        f"{backbone.name} ({backbone.weights}) at {backbone.preprocessing.crop_px} px"
    )


def open_source(request: Request, dataset: Dataset, device: torch.device) -> Source:
    backbone = load_backbone(request.model, weights=request.weights, device=device, strict=request.strict)
    geometry = with_geometry(backbone.preprocessing, request.preset, request.image_px, dataset.first_resize_px)
    backbone = with_preprocessing(backbone, geometry)
    store = Store(dataset, geometry, paths.store_root()) if request.keep_pixels else None
    images = Images(dataset, geometry, store=store)
    cache = paths.cache_root() if request.keep_features else None
    return Source(images, backbone, Features(images, backbone, device=device, cache=cache), device)


def decode_images(sources: Sequence[Source], rows: Int64[ndarray, "n"], request: Request, say: Say) -> None:
    """Have `rows` in the store, and in the memory of each GPU where they fit."""
    fill_store(sources[0].images, rows, request, say)
    for source in sources:
        source.images.reside(rows, source.device)


def fill_store(images: Images, rows: Int64[ndarray, "n"], request: Request, say: Say) -> None:
    """Bring `rows` into the store, with a bar. Where the disk has no room, say so and go on without."""
    missing = images.missing(rows)
    if images.store is None or not len(missing):
        return
    for notice in images.store.notices:
        say(f"note: {notice}")
    try:
        with progress("decoded images", "image", len(missing), quiet=request.quiet) as bar:
            for n_images in images.fill(missing):
                bar.update(n_images)
    except StoreError as problem:
        say(f"note: images are decoded again whenever they are needed: {problem}")
        images.store = None


def compute_features(source: Source, rows: Int64[ndarray, "n"], request: Request, say: Say) -> None:
    """Make the features of `rows` known, with a bar."""
    features = source.features
    missing = features.missing(rows)
    if len(missing):
        fill_store(source.images, missing, request, say)
        with progress("frozen features", "image", len(missing), quiet=request.quiet) as bar:
            for n_images in features.compute(missing):
                bar.update(n_images)
    for notice in features.notices:
        say(f"note: {notice}")
    features.notices.clear()
