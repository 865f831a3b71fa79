"""How arrays that are no uint8 become it: which of their values is white, by a sample of the images."""

import math

import numpy as np

from fewshot_bn.datasets.array_file import ArrayFile

SAMPLED = 16
MOST_VALUES = 2**24  # of an image, which is read whole
WHITES = (1, 255, 1023, 4095, 16383, 65535)
ANYHOW = "scale and convert it"


def conversion(file: ArrayFile, key: str) -> str:
    """The line of numpy that converts the array, with the values that were seen; a plain advice if it is not clear."""
    array = file.arrays[key]
    if array.dtype.kind == "b":
        return f"{key}.astype('uint8') * 255"
    if (
        array.dtype.kind not in "iuf"
        or array.dtype == np.uint8
        or not array.size
        or math.prod(array.shape[1:]) > MOST_VALUES
    ):
        return ANYHOW
    with file.reading():
        step = 1 + (len(array) - 1) // SAMPLED
        seen = [np.asarray(array[row]) for row in range(0, len(array), step)]
    low, high = min(float(image.min()) for image in seen), max(float(image.max()) for image in seen)
    said = f"its values run from {low:g} to {high:g}, so "
    if low < 0:
        return f"{said}they may be normalised: undo that, scale to 0..255 and convert"
    white = next((white for white in WHITES if high <= white), None)
    if white is None or not np.isfinite(high) or (white == 1 and array.dtype.kind != "f"):
        return f"{said}it is not clear which is white: scale it to 0..255 and convert"
    if white == 255:
        return f"{said}{key}.round().astype('uint8')" if array.dtype.kind == "f" else f"{said}{key}.astype('uint8')"
    factor = "255" if white == 1 else f"(255 / {white})"
    return f"{said}({key} * {factor}).round().astype('uint8') if {white} is white"
