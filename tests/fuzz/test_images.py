"""Encoded images: pixels of the size that is asked for, or a reason."""

import io

import numpy as np
import pytest
from fuzz.mutations import damaged
from fuzz.trial import survive, tiers
from PIL import Image, features

from fewshot_bn.errors import DataError
from fewshot_bn.preprocessing import Preprocessing, pixels_of
from fewshot_bn.raster import decoded, look_at, reason_of, scaled, unreadable

FORMATS = {
    "PNG": {},
    "JPEG": {},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
    "JPEG2000": {},
    "AVIF": {},
}
FITTED = Preprocessing(8, 8)


def encoded(kind):
    values = np.random.default_rng(np.random.Philox(3)).integers(0, 256, (24, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **FORMATS[kind])
    return file.getvalue()


def deep():
    values = np.random.default_rng(np.random.Philox(3)).integers(0, 4096, (24, 30)).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [*FORMATS, "deep"])
@tiers(20, 600)
def test_images(kind, numbers):
    if kind in ("AVIF", "WEBP", "JPEG2000") and not features.check({"JPEG2000": "jpg_2000"}.get(kind, kind.lower())):
        pytest.skip(f"this PIL has no {kind}")
    whole = deep() if kind == "deep" else encoded(kind)
    assert pixels_of(whole, FITTED).shape == (8, 8, 3)

    def trial(rng):
        content = damaged(rng, whole)
        try:
            look = look_at(decoded(content))
            assert not (look.is_black and look.is_white)
            assert 0 <= look.peak <= 65535
            assert pixels_of(content, FITTED).shape == (8, 8, 3)
            assert pixels_of(scaled(content, 4095), FITTED).shape == (8, 8, 3)
        except unreadable() as problem:
            raise DataError(reason_of(problem)) from problem

    survive(trial, numbers)
