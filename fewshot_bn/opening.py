"""From a request to what is computed on: the backbone, the images and their frozen features."""

import torch
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn import paths
from fewshot_bn.backbones import load_backbone, with_preprocessing
from fewshot_bn.console import Say, progress
from fewshot_bn.datasets import Dataset
from fewshot_bn.evaluation import Source
from fewshot_bn.features import Features
from fewshot_bn.images import Images, with_geometry
from fewshot_bn.request import Request


def open_source(request: Request, dataset: Dataset, device: torch.device) -> Source:
    backbone = load_backbone(request.model, weights=request.weights, device=device, strict=request.strict)
    geometry = with_geometry(backbone.preprocessing, request.preset, request.image_px)
    backbone = with_preprocessing(backbone, geometry)
    images = Images(dataset, geometry)
    cache = paths.cache_root() if request.keep_features else None
    return Source(images, backbone, Features(images, backbone, device=device, cache=cache), device)


def compute_features(features: Features, rows: Int64[ndarray, "n"], request: Request, say: Say) -> None:
    """Make the features of `rows` known, with a bar."""
    missing = features.missing(rows)
    if len(missing):
        with progress("frozen features", "image", len(missing), quiet=request.quiet) as bar:
            for n_images in features.compute(missing):
                bar.update(n_images)
    for notice in features.notices:
        say(f"note: {notice}")
    features.notices.clear()
