"""What the verbs show and say: progress bars, notes, and on what a run ran."""

import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch
from tqdm import tqdm

from fewshot_bn.evaluation import Source
from fewshot_bn.request import Request

Say = Callable[[str], None]


def speaker(request: Request) -> Say:
    """Says things on standard error, or nothing where that is asked for."""
    return _say_nothing if request.quiet else _say_on_stderr


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def _say_nothing(text: str) -> None:
    del text


def progress(title: str, unit: str, total: int, done: int = 0, *, quiet: bool) -> "tqdm[None]":
    """A bar, on a terminal only, so that logs of batch scripts stay short."""
    return tqdm(desc=title, unit=unit, total=total, initial=done, leave=False, disable=True if quiet else None)


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
