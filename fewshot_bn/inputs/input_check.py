"""Does a network see what it was trained with? A run says so where it does not: a wrong mean and std on a card, mostly.

The first images whose features are computed are looked at, and what is found (input_statistics.py) is kept beside the
features, so that a later run which finds all of them says it too. Networks without BatchNorm, which remember nothing,
are only told of normalised images that hardly any network is trained with; networks without training of nothing.

Raises: `DataError` where what was kept is damaged.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import DataError
from fewshot_bn.files.atomic import make_folder, read_file, replace_file
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.input_statistics import MOST_SHIFT, MOST_SPREAD, Symptoms, Watch, is_trained
from fewshot_bn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

N_IMAGES = 64  # are looked at
LEAST_IMAGES = 16  # of fewer, statistics say nothing
MOST_MEAN, MOST_STD = 3.0, 3.0  # of normalised images, for a network without BatchNorm
MOST_BYTES = 2**16
COMMON = {
    "that of ImageNet": (IMAGENET_MEAN, IMAGENET_STD),
    "pixels in 0..1": ((0.0,) * 3, (1.0,) * 3),
    "pixels in -1..1": ((0.5,) * 3, (0.5,) * 3),
    "pixels in 0..255": ((0.0,) * 3, (1 / 255,) * 3),
}


class InputCheck:
    """Looks at the first images that go through `backbone`, and keeps what it finds in `folder`, if there is one."""

    def __init__(self, images: Images, backbone: Backbone, *, device: torch.device, folder: Path | None) -> None:
        self._images, self._backbone, self._device = images, backbone, device
        self._file = folder / "input.json" if folder else None
        self._watch = Watch(backbone.module)
        self._seen: list[UInt8[Tensor, "n 3 h w"]] = []  # since the last conclusion, at most N_IMAGES
        self._found: Symptoms | None = None
        self.wanted_images = N_IMAGES if is_trained(backbone.module) else 0
        self._said = ""

    @property
    def wanted(self) -> bool:
        """Whether there are images to be looked at yet."""
        found = self._read()
        return (found.n_images if found else 0) < self.wanted_images

    def order(self, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "n"]:
        """The same rows; those that will be looked at come first, and are spread over all of them."""
        if not self.wanted or len(rows) <= N_IMAGES:
            return rows
        first = np.linspace(0, len(rows) - 1, N_IMAGES).astype(int)
        return np.concatenate([rows[first], np.delete(rows, first)])

    def watching(self, pixels: UInt8[Tensor, "n 3 h w"]) -> contextlib.AbstractContextManager[None]:
        """Within it, a batch goes through the network whose first images have these pixels."""
        if not self.wanted or self._watch.n_images >= self.wanted_images:
            return contextlib.nullcontext()
        self._seen.append(pixels)
        return self._watch.on(pixels)

    def conclude(self) -> None:
        """Take what has been seen until now for what there is."""
        before = self._read()
        if not self._seen or (before and before.n_images > self._watch.n_images):
            return
        found = self._watch.symptoms()
        if found.distance > 1:
            found = replace(found, fits=common_fit(self._backbone, self._seen, self._device))
        self._found, self._seen = found, []
        if self._file is not None:
            with contextlib.suppress(OSError):  # whoever keeps features there says so
                make_folder(self._file.parent)
                replace_file(self._file, json.dumps(asdict(found)).encode())

    def findings(self) -> Iterator[str]:
        """What is wrong, once."""
        found = self._read()
        text = in_words(found, self._backbone.name, self._images.preprocessing) if found else ""
        thing = re.sub(r"[\d.]+", "", text)
        if text and thing != self._said:
            self._said = thing
            yield text

    def _read(self) -> Symptoms | None:
        """What has been found, here or by an earlier run."""
        if self._found is None and self._file is not None and self._file.exists():
            self._found = read_symptoms(self._file)
        return self._found


def read_symptoms(path: Path) -> Symptoms:
    try:
        values: dict[str, Any] = json.loads(read_file(path, MOST_BYTES))
        found = Symptoms(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        layers = [found.shift, found.spread, found.deep_shift, found.deep_spread]
        numbers = [found.n_images, *found.mean, *found.std, *(layers if any(layers) else ())]
        if (
            (len(found.mean), len(found.std), len(numbers)) not in ((3, 3, 7), (3, 3, 11))
            or not np.isfinite(numbers).all()
            or found.fits not in ("", *COMMON)
        ):
            raise ValueError("its values are not possible")  # noqa: TRY301
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as problem:
        raise DataError(f"{path}: what the input check has kept is damaged ({problem}); delete it") from problem
    return found


def common_fit(backbone: Backbone, batches: Sequence[UInt8[Tensor, "b 3 h w"]], device: torch.device) -> str:
    """The common normalisation under which `backbone` has no symptom on these images; "" where there is none."""
    distances: dict[str, float] = {}
    for name, (mean, std) in COMMON.items():
        watch, other = Watch(backbone.module), replace(backbone.preprocessing, mean=mean, std=std)
        for pixels in batches:
            with watch.on(pixels):
                backbone.features(normalise(pixels, other, device))
        distances[name] = watch.symptoms().distance
    best = min(distances, key=distances.__getitem__)
    return best if distances[best] < 1 else ""


def in_words(seen: Symptoms, name: str, preprocessing: Preprocessing) -> str:
    """What is wrong, and what to do; "" where nothing is."""
    if seen.n_images < LEAST_IMAGES:
        return ""
    means = [(m - k) / s for m, k, s in zip(seen.mean, preprocessing.mean, preprocessing.std, strict=True)]
    stds = [m / s for m, s in zip(seen.std, preprocessing.std, strict=True)]
    images = f"normalised images have means {_numbers(means)} and standard deviations {_numbers(stds)}"
    if seen.shift is None:
        usual = max(map(abs, means)) <= MOST_MEAN and max(stds) <= MOST_STD
        return "" if usual else f"{name}: {images}; most networks are trained near 0 and 1: {_advice(seen)}"
    if seen.distance <= 1:
        return ""
    layers = _layers_in_words(seen)
    return f"{name}: {layers} ({images}), so its input is not what it was trained with: {_advice(seen)}"


def _layers_in_words(seen: Symptoms) -> str:
    assert seen.spread is not None and seen.deep_spread is not None  # noqa: S101, PT018 - a network with BatchNorm
    shift, spread, which = seen.shift, seen.spread, "the first BatchNorm layer sees"
    if max(seen.far_shift / MOST_SHIFT, abs(seen.far_spread) / MOST_SPREAD) <= 1:
        shift, spread, which = seen.deep_shift, seen.deep_spread, "half of the BatchNorm layers see"
    return f"{which} means {shift:.1f} standard deviations off and {exp(spread):.2g} times the spread of training"


def _advice(seen: Symptoms) -> str:
    if seen.fits:
        mean, std = COMMON[seen.fits]
        values = f"mean = [{', '.join(f'{m:.3g}' for m in mean)}], std = [{', '.join(f'{s:.3g}' for s in std)}]"
        return f"{seen.fits} would fit ({values} on the card)"
    return "check mean, std and weights of the card, and look at the images"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
