"""What is said of deep, dark and equal images, and what `max_value` makes of them."""

import numpy as np
import pytest
from PIL import Image

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.arrays import encode
from fewshot_bn.datasets.looks import findings
from fewshot_bn.datasets.verification import examine, report
from fewshot_bn.preprocessing import Preprocessing, fitted, pixels_of
from fewshot_bn.raster import _stride, decoded, look_at

CARD = """
name = "deep"
title = "Deep"
layout = "folder"
folders = ["."]
licence = "none"
source = "nowhere"
citation = "nobody"
get = "draw it."
n_classes = 2
max_value = {}
"""


def write(folder, factor, make=None):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            grey = rng.integers(0, 256, (40, 40)).astype(np.uint16) if make is None else make(name)
            Image.fromarray((grey * factor).astype(np.uint16 if factor > 1 else np.uint8)).save(
                folder / name / f"{i}.png"
            )
    return open_dataset(str(folder))


def said(dataset):
    rasters = {row: decoded(dataset.read(row)) for row in range(len(dataset))}
    found = list(map(str, findings(dataset, {row: look_at(raster) for row, raster in rasters.items()})))
    for side in (32, 224):  # as a store looks, at pixels that it has made anyway
        looks = {
            row: look_at(one, fitted(one.image, Preprocessing(side, side)).tobytes()) for row, one in rasters.items()
        }
        assert list(map(str, findings(dataset, looks))) == found
    return found


def test_deep_images_of_few_values_are_named_by_verify(tmp_path):
    dataset = write(tmp_path / "deep", 16)
    found = report(dataset, None, [one for part in examine(dataset) for one in part])
    (note,) = found.notes
    assert str(note) == (
        "deep: 10 of 10 16-bit images use only 4,096 of 65,536 values, so they are dark or nearly black; "
        "set max_value = 4095 on a card"
    )
    assert len(note.cases) == 10


@pytest.mark.parametrize("factor", [1, 257])
def test_nothing_is_said_of_full_ranges(tmp_path, factor):
    assert said(write(tmp_path / "full", factor)) == []


def test_max_value_gives_the_pixels_of_the_same_image_in_8_bits(tmp_path):
    deep, shallow = write(tmp_path / "deep", 16), write(tmp_path / "shallow", 1)
    (tmp_path / "card.toml").write_text(CARD.format(255 * 16))
    carded = open_dataset(str(tmp_path / "card.toml"), root=tmp_path / "deep")
    geometry = Preprocessing(40, 40)
    for row in range(10):
        np.testing.assert_array_equal(pixels_of(carded.read(row), geometry), pixels_of(shallow.read(row), geometry))
    assert carded.stamp != deep.stamp
    assert carded.fingerprint == deep.fingerprint
    assert said(carded) == []


def test_images_that_look_the_same_or_show_nothing(tmp_path):
    black = write(tmp_path / "black", 1, lambda name: np.zeros((40, 40)))
    assert said(black) == [
        "black: 10 of 10 images are nearly all black or all white",
        "black: all 10 images look the same at 1,024 points",
    ]
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(40), np.arange(40)) * 3
    half = write(tmp_path / "half", 1, lambda name: ramp if name == "b" else rng.integers(0, 256, (40, 40)))
    assert said(half) == ["half: classes most of whose images look the same at 1,024 points: b"]


@pytest.mark.parametrize("side", [28, 32, 84, 224, 300, 331])
def test_a_look_goes_to_every_row_column_and_channel(side):
    raster = decoded(encode(np.zeros((side, side), np.uint8)))
    seen = set()
    for place in range(0, 3 * side**2, _stride(3 * side**2)):
        seen |= {("row", place // (3 * side)), ("column", place // 3 % side), ("channel", place % 3)}
    assert len(seen) == 2 * side + 3
    pixels = bytearray(3 * side**2)
    before = look_at(raster, bytes(pixels))
    pixels[_stride(len(pixels)) * 1000] = 200
    after = look_at(raster, bytes(pixels))
    assert (before.is_black, after.is_black, after.is_white) == (True, False, False)
    assert before.sample != after.sample


def test_images_that_are_in_several_classes_are_said(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "twins" / name).mkdir(parents=True)
    for i in range(20):
        image = Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8))
        image.save(tmp_path / "twins" / "a" / f"{i}.png")
        other = image if i < 2 else Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8))
        other.save(tmp_path / "twins" / "b" / f"{i}.png")
    dataset = open_dataset(str(tmp_path / "twins"))
    (found,) = said(dataset)
    assert found == "twins: 4 of 40 images look the same at 1,024 points as one of another class"
    (tmp_path / "twins" / "b" / "0.png").unlink()
    (tmp_path / "twins" / "b" / "1.png").unlink()
    assert said(open_dataset(str(tmp_path / "twins"))) == []
