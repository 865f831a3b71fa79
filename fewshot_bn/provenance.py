"""On what a run ran: which images under which network, which devices, which versions."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import torch

from fewshot_bn.evaluation import Source


def subject(source: Source) -> str:
    """Which images under which network."""
    dataset, backbone = source.images.dataset, source.backbone
    return (
        f"{dataset.name} ({len(dataset):,} images, {len(dataset.class_names)} classes), "
        f"{backbone.name} ({backbone.weights}) at {backbone.preprocessing.crop_px} px"
    )


def device_names(sources: Sequence[Source]) -> str:
    return ", ".join(_device_name(source.device) for source in sources)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "pillow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
