"""What the header of a TIFF file says of its pixels, for files that PIL does not read, or reads wrongly.

Source: TIFF 6.0 (Adobe 1992), section 2; BigTIFF: libtiff's specification.
"""

import struct
from typing import Any

import numpy as np
from jaxtyping import UInt16
from numpy import ndarray

BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, CHANNELS, COUNTS = 258, 259, 262, 273, 277, 279
PLANAR, EXTRA, FORMAT = 284, 338, 339
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1  # of PHOTOMETRIC, for grey
KINDS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
N_CHANNELS_OF_EUROSAT = 13
SHORT, LONG = 3, 4


def describe_tiff(encoded: bytes) -> str:
    """As in "a TIFF of 13 channels of 16 bits"; nothing for other files and damaged headers."""
    try:
        tags = _tags(encoded)
    except (struct.error, IndexError):
        return ""
    if not tags:
        return ""
    n, bits = tags.get(CHANNELS, 1), tags.get(BITS, 1)
    kind = f"{KINDS[tags[FORMAT]]} " if tags.get(FORMAT) in KINDS else ""
    method = f", compressed by method {tags[COMPRESSION]}" if tags.get(COMPRESSION, 1) != 1 else ""
    return f"a TIFF of {n} {'channel' if n == 1 else 'channels'} of {bits} {kind}bits{method}"


def advice_on_tiff(encoded: bytes) -> str:
    """What it is and what to do about it; nothing where it is no TIFF."""
    what = describe_tiff(encoded)
    if not what:
        return ""
    eurosat = (
        "; of EuroSAT, the version in RGB is meant" if _tags(encoded).get(CHANNELS) == N_CHANNELS_OF_EUROSAT else ""
    )
    tags = _tags(encoded)
    if tags.get(CHANNELS, 1) in (2, 3) and tags.get(PHOTOMETRIC) in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return (
            f"it is {what}, which its header calls grey, not red, green and blue: save it with 1 channel, or 3 as RGB"
        )
    return f"it is {what}, which PIL does not read: save it with 3 channels of 8 bits{eurosat}"


def has_odd_channels(image: Any) -> bool:
    """Whether grey comes with channels that are no transparency, which PIL leaves out or takes for pixels of it."""
    tags = getattr(image, "tag_v2", {})
    n, extra = tags.get(CHANNELS, 1), tags.get(EXTRA, ())
    is_grey = tags.get(PHOTOMETRIC) in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    return is_grey and n > 1 and not (n == 2 and extra in ((1,), (2,)))


def is_inverted(image: Any) -> bool:
    """Whether 0 is white, which PIL heeds in grey of 8 bits alone."""
    return bool(getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO)


def planes_of(image: Any) -> UInt16[ndarray, "h w 3"] | None:
    """The values of an image that PIL has opened, and not loaded, if its channels of 16 bits lie one after the other.

    Not compressed, PIL takes them for 8 bits. Raises `ValueError` where they are cut into tiles, or are not all there.
    """
    tags = getattr(image, "tag_v2", {})
    is_deep = set(tags.get(BITS, ())) == {16} and tags.get(PHOTOMETRIC) == 2
    if not is_deep or tags.get(PLANAR) != 2 or tags.get(COMPRESSION, 1) != 1:
        return None
    width, height = image.size
    whole, n = memoryview(image.fp.getvalue()), len(tags[BITS])
    offsets, counts = tags.get(OFFSETS, ()), tags.get(COUNTS, ())
    parts = []
    if n >= 3 and len(offsets) == len(counts) and sum(counts) == 2 * n * width * height:
        parts = [whole[start : start + n_bytes] for start, n_bytes in zip(offsets, counts, strict=True)]
    if not parts or sum(map(len, parts)) != sum(counts):
        raise ValueError(
            "its channels of 16 bits lie one after the other, in tiles or not all of them, which is not read; save it "
            "with the channels of each pixel together"
        )
    data, order = b"".join(parts), "<" if bytes(whole[:2]) == b"II" else ">"
    values: ndarray = np.frombuffer(data, f"{order}u2").reshape(n, height, width)[:3].transpose(1, 2, 0)
    return values.astype(np.uint16)


def _tags(encoded: bytes) -> dict[int, int]:
    """The first value of each tag of the first image that is a short or long number."""
    order = {b"II": "<", b"MM": ">"}.get(encoded[:2], "")
    version = struct.unpack_from(f"{order}H", encoded, 2)[0] if order else 0
    if version not in (42, 43):
        return {}
    offset_form, count_form, step, width = ("Q", "Q", 20, 8) if version == 43 else ("L", "H", 12, 4)
    (start,) = struct.unpack_from(order + offset_form, encoded, 8 if version == 43 else 4)
    (n,) = struct.unpack_from(order + count_form, encoded, start)
    start += struct.calcsize(order + count_form)
    tags = {}
    for place in range(start, start + step * min(n, 1000), step):
        tag, kind = struct.unpack_from(f"{order}HH", encoded, place)
        if kind not in (SHORT, LONG):
            continue
        (count,) = struct.unpack_from(order + offset_form, encoded, place + 4)
        value = place + 4 + width
        if count * (2 if kind == SHORT else 4) > width:
            (value,) = struct.unpack_from(order + offset_form, encoded, value)
        tags[tag] = struct.unpack_from(order + ("H" if kind == SHORT else "L"), encoded, value)[0]
    return tags
