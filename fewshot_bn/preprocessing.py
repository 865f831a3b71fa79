"""From one encoded image to pixels: decode as RGB, resize, crop. PIL is the reference, bit for bit.

Quick to import, so that the processes that build a store start quickly.
Units: pixels; uint8 pixels run 0..255, and `mean` and `std` are those of pixels scaled to 0..1.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.raster import decoded

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_MEAN = 5.0  # beyond any of pixels in 0..1; those of pixels in 0..255 are about 100
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_SIDE_PX = 4096
MOST_PIXELS = 2**27  # of a resized image: 512 MB in PIL


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, centre crop, normalise.

    With `keep_aspect` the short side becomes `resize_px`, otherwise both sides do; then a square of `crop_px` is cut.
    Where `first_resize_px` is not 0, both sides are resized to it before all else.
    """

    resize_px: int = 224
    crop_px: int = 224
    keep_aspect: bool = True
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    first_resize_px: int = 0

    def __post_init__(self) -> None:
        if max(self.resize_px, self.first_resize_px) > MOST_SIDE_PX or self.first_resize_px < 0:
            sizes = f"resize_px is {self.resize_px} and first_resize_px {self.first_resize_px}"
            raise UsageError(f"{sizes}; images are resized to at most {MOST_SIDE_PX} px")
        if not 1 <= self.crop_px <= self.resize_px:
            raise UsageError(f"cannot crop {self.crop_px} px out of images resized to {self.resize_px} px")
        if not all(0 < value < math.inf for value in self.std) or not all(map(math.isfinite, self.mean)):
            raise UsageError(f"mean is {self.mean} and std {self.std}; they must be finite, and std above 0")
        if max(map(abs, self.mean)) > MOST_MEAN:
            raise UsageError(f"mean is {self.mean}; pixels are in 0..1 here: divide mean and std by 255")

    @property
    def geometry(self) -> str:
        """What happens to pixels before they are normalised, as a name."""
        first = f"{self.first_resize_px}-" if self.first_resize_px else ""
        kind = "short-side" if self.keep_aspect else "both-sides"
        return f"{first}{self.interpolation}-{kind}-{self.resize_px}-crop-{self.crop_px}"


# The geometry of the published numbers (Guo et al. 2020, arXiv:1912.07200): the code's, and the text's. The card of a
# backbone keeps the last word on mean and std.
PRESETS = {
    "cdfsl": Preprocessing(257, 224, keep_aspect=False, interpolation="bilinear"),
    "paper": Preprocessing(224, 224, keep_aspect=True, interpolation="bicubic"),
}


def with_geometry(
    preprocessing: Preprocessing, preset: str | None, image_px: int | None, first_resize_px: int = 0
) -> Preprocessing:
    """Resize and crop as `preset` says, scaled so that images of `image_px` come out; mean and std stay.

    `first_resize_px` is what the card of the dataset says of preset cdfsl.
    """
    if preset is not None:
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        preprocessing = replace(PRESETS[preset], mean=preprocessing.mean, std=preprocessing.std)
        if preset == "cdfsl":
            preprocessing = replace(preprocessing, first_resize_px=first_resize_px)
    if image_px is not None:
        if not 1 <= image_px <= MOST_SIDE_PX:
            raise UsageError(f"images of {image_px} px: 1 to {MOST_SIDE_PX} px are possible")
        resize_px = round(image_px * preprocessing.resize_px / preprocessing.crop_px)
        preprocessing = replace(preprocessing, resize_px=resize_px, crop_px=image_px)
    return preprocessing


def pixels_of(encoded: bytes, preprocessing: Preprocessing) -> UInt8[ndarray, "h w 3"]:
    """Decode one image as RGB, resize and crop it. Raises one of `raster.unreadable()` if it cannot be read."""
    return np.asarray(image_of(encoded, preprocessing))


def image_of(encoded: bytes, preprocessing: Preprocessing) -> "Image":
    """`pixels_of` as an image of PIL."""
    return fitted(decoded(encoded).image, preprocessing)


def fitted(image: "Image", preprocessing: Preprocessing) -> "Image":
    """Resize and crop."""
    from PIL import Image

    short = min(image.size)
    if first := preprocessing.first_resize_px:
        image = image.resize((first, first), Image.Resampling.BICUBIC)  # PIL's own default
        short = first
    side = preprocessing.resize_px
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    width, height = (int(side * length / short) if preprocessing.keep_aspect else side for length in image.size)
    if width * height > MOST_PIXELS:
        raise ValueError(f"it would be {width} x {height} pixels once resized, at most {MOST_PIXELS:,} are possible")
    if (width, height) != image.size:
        image = image.resize((width, height), resampling[preprocessing.interpolation])
    crop = preprocessing.crop_px
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return image.crop((left, top, left + crop, top + crop))
