"""From encoded images to pixels: decode, geometric transform, gather rows, normalise on the device.

Geometry happens once per image, on uint8, with PIL as the reference; normalisation happens on the device.
Units: pixels; uint8 pixels run 0..255, and `mean` and `std` are those of pixels scaled to 0..1.
"""

import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from fewshot_bn.datasets import Dataset
from fewshot_bn.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, centre crop, normalise.

    With `keep_aspect` the short side becomes `resize_px`, otherwise both sides do; then a square of `crop_px` is cut.
    """

    resize_px: int = 224
    crop_px: int = 224
    keep_aspect: bool = True
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px:
            raise UsageError(f"cannot crop {self.crop_px} px out of images resized to {self.resize_px} px")
        if not all(0 < value < math.inf for value in self.std) or not all(map(math.isfinite, self.mean)):
            raise UsageError(f"mean is {self.mean} and std {self.std}; they must be finite, and std above 0")


# The geometry of the published numbers (Guo et al. 2020, arXiv:1912.07200): the code's, and the text's. The card of a
# backbone keeps the last word on mean and std.
PRESETS = {
    "cdfsl": Preprocessing(257, 224, keep_aspect=False, interpolation="bilinear"),
    "paper": Preprocessing(224, 224, keep_aspect=True, interpolation="bicubic"),
}


def with_geometry(preprocessing: Preprocessing, preset: str | None, image_px: int | None) -> Preprocessing:
    """Resize and crop as `preset` says, scaled so that images of `image_px` come out; mean and std stay."""
    if preset is not None:
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        preprocessing = replace(PRESETS[preset], mean=preprocessing.mean, std=preprocessing.std)
    if image_px is not None:
        resize_px = round(image_px * preprocessing.resize_px / preprocessing.crop_px)
        preprocessing = replace(preprocessing, resize_px=resize_px, crop_px=image_px)
    return preprocessing


def pixels_of(encoded: bytes, preprocessing: Preprocessing) -> UInt8[ndarray, "3 h w"]:
    """Decode one image as RGB, resize and crop it. Raises `OSError` or `ValueError` where PIL cannot read it."""
    from PIL import Image

    side = preprocessing.resize_px
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    with Image.open(io.BytesIO(encoded)) as opened:
        image = _as_rgb(opened)
    short = min(image.size)
    if max(image.size) > 100 * short:
        raise ValueError(f"it is {image.size[0]} x {image.size[1]} pixels, more than 100 times as long as wide")
    width, height = (int(side * length / short) if preprocessing.keep_aspect else side for length in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), resampling[preprocessing.interpolation])
    crop = preprocessing.crop_px
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return np.ascontiguousarray(np.asarray(image.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1))


def _as_rgb(image: "Image") -> "Image":
    """RGB; transparency is dropped, and 16-bit grey keeps its upper 8 bits (PIL alone would clip it to white)."""
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"its pixels are of mode {image.mode} (32 bits), whose range is unknown; save it with 8 or 16")
    if image.mode.startswith("I"):
        upper = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


class Images:
    """The pixels of a dataset's rows, decoded on demand and kept in at most `cache_bytes` of host memory."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, *, cache_bytes: int = 2**30) -> None:
        self.dataset = dataset
        self.preprocessing = preprocessing
        self._room = cache_bytes // (3 * preprocessing.crop_px**2)
        self._kept: dict[int, UInt8[ndarray, "3 h w"]] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    def gather(self, rows: Int64[ndarray, "n"]) -> UInt8[Tensor, "n 3 h w"]:
        """The pixels of `rows`. Raises `DataError` that names the first image that cannot be read."""
        side = self.preprocessing.crop_px
        out = np.empty((len(rows), 3, side, side), np.uint8)
        for place, pixels in enumerate(self._pool.map(self._pixels, rows.tolist())):
            out[place] = pixels
        return torch.from_numpy(out)

    def _pixels(self, row: int) -> UInt8[ndarray, "3 h w"]:
        pixels = self._kept.get(row)
        if pixels is None:
            pixels = self._decode(row)
            if len(self._kept) < self._room:
                self._kept[row] = pixels
        return pixels

    def _decode(self, row: int) -> UInt8[ndarray, "3 h w"]:
        from PIL import Image, UnidentifiedImageError

        try:
            return pixels_of(self.dataset.read(row), self.preprocessing)
        except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as problem:
            reason = "it is no image" if isinstance(problem, UnidentifiedImageError) else problem
            raise DataError(
                f"{self.dataset.name}: image {self.dataset.ids[row]!r} (row {row}) cannot be read: {reason}; "
                "get this file again or remove it"
            ) from problem


def normalise(
    pixels: UInt8[Tensor, "n 3 h w"], preprocessing: Preprocessing, device: torch.device
) -> Float[Tensor, "n 3 h w"]:
    """Pixels as float32 on `device` with the mean and std the backbone was trained with, channels last."""
    mean = torch.tensor(preprocessing.mean, device=device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=device)[:, None, None]
    x = pixels.to(device).to(torch.float32).div_(255)
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
