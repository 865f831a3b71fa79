"""One encoded image as RGB: which formats are read, what deep pixels become, and how the image looks.

Deep images have 16 bits per channel, of which the upper 8 are kept. Files come from anywhere, so only plain raster
formats are opened: others start programs (EPS starts Ghostscript) or are not what anybody means by an image.
Units: `peak` is in values of the file (0..255, or 0..65535 where `bits` is 16), all other values run 0..255.
"""

import functools
import io
import math
import sys
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.files.tiff import advice_on_tiff, has_odd_channels, is_inverted, planes_of

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF")  # JPEG stands for MPO as well
OTHERS = ("EPS", "PSD", "ICO", "DDS", "FITS")  # not read, and known by their first bytes
LONGEST = 100  # times as long as wide
MOST = 65535
BLACK, WHITE = bytes(range(16)), bytes(range(240, 256))  # values that are taken for them
SAMPLE_PX = 32  # side of what is looked at, or as many points


@dataclass(frozen=True, slots=True)
class Raster:
    """A decoded image, how many bits its file has per channel, and the largest value (of 8 bits: not known, 255)."""

    image: "Image"
    bits: int
    peak: int


@dataclass(frozen=True, slots=True)
class Look:
    """An image at a glance: whether a sample of its values is black or white throughout, and the sample's checksum."""

    bits: int
    peak: int
    is_black: bool
    is_white: bool
    sample: int


def decoded(encoded: bytes) -> Raster:
    """The whole image as RGB. Raises one of `unreadable()` if it cannot be read."""
    try:
        with _opened(encoded) as opened:
            raster = _as_rgb(opened)
    except unreadable():
        raise
    except Exception as problem:  # damaged bytes lead decoders astray in every way
        raise ValueError(f"it is damaged ({type(problem).__name__}: {problem})") from problem
    width, height = raster.image.size
    if max(width, height) > LONGEST * min(width, height):
        raise ValueError(f"it is {width} x {height} pixels, more than {LONGEST} times as long as wide")
    return raster


def scaled(encoded: bytes, max_value: int) -> bytes:
    """The image as it is, unless it is deep: then as PPM of 8 bits, in which `max_value` and all above it is white."""
    from PIL import Image

    with _opened(encoded) as opened:
        is_grey = opened.mode.startswith("I") and (opened.mode != "I" or opened.format in ("PNG", "PPM"))
        try:
            planes = planes_of(opened)
            if planes is not None:
                values = planes.astype(np.int64)
            elif is_grey:
                values = np.asarray(opened).astype(np.int64)
                values = max_value - values if is_inverted(opened) else values
            elif _deep_modes(opened):
                values = _deep_values(opened, encoded)
            else:
                return encoded
        except unreadable():
            return encoded  # whoever decodes it says why
    file = io.BytesIO()
    Image.fromarray((np.clip(values, 0, max_value) * 255 // max_value).astype(np.uint8)).save(file, "PPM")
    return file.getvalue()


def _deep_values(opened: "Image", encoded: bytes) -> Int64[ndarray, "h w 3"]:
    """All 16 bits of a colour image, of which PIL gives the upper 8: read as if in the other order of bytes, the lower.

    Where PIL has no such order, or multiplies by the transparency, the lower 8 are taken to be as the upper.
    """
    modes = _deep_modes(opened)
    high: ndarray = np.asarray(_as_rgb(opened).image).astype(np.int64)
    if any(mode.startswith("RGBa") for mode in modes):
        return high * 257
    try:
        with _opened(encoded) as again:
            tiles: list[Any] = getattr(again, "tile", [])
            tiles[:] = map(_in_other_order, tiles)
            low: ndarray = np.asarray(again.convert("RGB")).astype(np.int64)
    except unreadable():  # PIL has no such order
        low = high
    values: ndarray = high * 256 + low
    return values


def _in_other_order(tile: Any) -> Any:
    """A tile of PIL, its channels read in the other order of bytes."""
    is_alone = isinstance(tile[3], str)
    mode, *more = (tile[3],) if is_alone else tile[3]
    native, other = ("16L", "16B") if sys.byteorder == "little" else ("16B", "16L")
    swapped = mode[:-3] + {native: other, other: native, "16N": other}[mode[-3:]]
    arguments = swapped if is_alone else (swapped, *more)
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def look_at(raster: Raster, pixels: bytes = b"") -> Look:
    """At `pixels`, if they are given: the same image in RGB, of any size, which then need not be made for it.

    This costs about a hundredth of decoding.
    """
    if not pixels:
        from PIL import Image

        pixels = raster.image.resize((SAMPLE_PX, SAMPLE_PX), Image.Resampling.NEAREST).tobytes()
    sample = pixels[:: _stride(len(pixels))]
    is_black, is_white = not sample.strip(BLACK), not sample.strip(WHITE)  # soon seen: they stop at any other value
    return Look(raster.bits, raster.peak, is_black, is_white, zlib.crc32(sample))


@functools.cache
def _stride(n: int) -> int:
    """Every so many of `n` values are looked at, in all rows, columns and channels, as it has no factor of `n`."""
    return next(k for k in range(max(1, n // SAMPLE_PX**2), 0, -1) if math.gcd(k, n) == 1)


def reason_of(problem: Exception) -> str:
    """Why an image cannot be read."""
    from PIL import UnidentifiedImageError

    if isinstance(problem, UnidentifiedImageError):
        return "it is no image"
    if isinstance(problem, MemoryError):
        return "it does not fit in memory"
    return str(problem) or f"it is damaged ({type(problem).__name__})"


def unreadable() -> tuple[type[Exception], ...]:
    """What reading or decoding an image may raise."""
    return (OSError, ValueError, SyntaxError, MemoryError)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this PIL has. From now on PIL's own warnings are not shown: they name no file."""
    from PIL import Image

    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _opened(encoded: bytes) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(encoded), formats=_formats())
    except UnidentifiedImageError:
        if other := _other_format(encoded):
            raise ValueError(f"it is of format {other}, which is not read; save it as PNG or JPEG") from None
        if advice := advice_on_tiff(encoded) or _no_image(encoded):
            raise ValueError(advice) from None
        raise
    except Image.DecompressionBombError as problem:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ValueError(f"it has more than {most:,.0f} million pixels, the most that are read; shrink it") from problem
    if has_odd_channels(opened):
        raise ValueError(advice_on_tiff(encoded))
    return opened


def _no_image(encoded: bytes) -> str:
    """What stands in place of an image where a download has gone wrong; nothing for anything else."""
    if encoded.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the image; git lfs pull gets that"
    if encoded[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not an image: its download has failed"
    return ""


def _other_format(encoded: bytes) -> str:
    """The name of a format that is not read, by the first bytes alone; empty if no format is known by them."""
    from PIL import Image

    known = [name for name in OTHERS if name in Image.OPEN and len(encoded) >= 16]
    return next((name for name in known if (accepts := Image.OPEN[name][1]) and accepts(encoded[:16])), "")


def _as_rgb(image: "Image") -> Raster:
    """RGB; transparency is dropped, and 16-bit grey keeps its upper 8 bits (PIL alone would clip it to white)."""
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError(f"its pixels are of mode {image.mode} (32 bits), whose range is unknown; save it with 8 or 16")
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, MOST)
        shown = MOST - values if is_inverted(image) else values
        return Raster(Image.fromarray((shown >> 8).astype(np.uint8)).convert("RGB"), 16, int(values.max()))
    planes = planes_of(image)
    if planes is not None:
        return Raster(Image.fromarray((planes >> 8).astype(np.uint8)), 16, int(planes.max()))
    is_deep = bool(_deep_modes(image))
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode == "RGB":
        image.load()
    else:
        image = image.convert("RGB")
    return Raster(image, 16, int(np.asarray(image).max()) << 8 | 255) if is_deep else Raster(image, 8, 255)


def _deep_modes(image: "Image") -> list[str]:
    """In which order of bytes 16-bit channels lie in the file, for each of its tiles; none if channels have 8 bits."""
    arguments = [tile[3] for tile in getattr(image, "tile", ()) if tile[3]]
    first = [argument[0] if isinstance(argument, tuple) else argument for argument in arguments]
    return [mode for mode in first if isinstance(mode, str) and ";16" in mode]
