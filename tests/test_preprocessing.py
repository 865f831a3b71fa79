"""From one encoded image to pixels, against torchvision and PIL."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from fewshot_bn.errors import UsageError
from fewshot_bn.preprocessing import PRESETS, Preprocessing, pixels_of, with_geometry


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(rng, size, mode="RGB"):
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 33), (301, 97)])
@pytest.mark.parametrize("preset", ["cdfsl", "paper"])
def test_geometry_equals_torchvision_bit_for_bit(rng, size, preset):
    image = noise(rng, size)
    ours = with_geometry(Preprocessing(), preset, 28)
    mode = transforms.InterpolationMode(ours.interpolation)
    resize = transforms.Resize(ours.resize_px if ours.keep_aspect else (ours.resize_px,) * 2, mode)
    theirs = transforms.Compose([resize, transforms.CenterCrop(28), transforms.PILToTensor()])(image)
    np.testing.assert_array_equal(pixels_of(encoded(image), ours), theirs.numpy().transpose(1, 2, 0))


def test_presets_keep_mean_and_std_of_the_backbone_and_scale_with_the_image_size():
    own = Preprocessing(96, 96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert with_geometry(own, None, None) == own
    assert with_geometry(own, "cdfsl", None).mean == own.mean
    assert (PRESETS["cdfsl"].resize_px, with_geometry(own, "cdfsl", 112).resize_px) == (257, 128)
    with pytest.raises(UsageError, match="unknown preset 'cdfls'"):
        with_geometry(own, "cdfls", None)


def test_grey_transparent_and_16_bit_images_become_rgb(rng):
    same = Preprocessing(8, 8)
    grey = noise(rng, (8, 8), "L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, -1)
    np.testing.assert_array_equal(pixels_of(encoded(grey), same), expected)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256 + 77)
    np.testing.assert_array_equal(pixels_of(encoded(deep), same), expected)
    clear = noise(rng, (8, 8), "RGBA")
    np.testing.assert_array_equal(pixels_of(encoded(clear), same), np.asarray(clear)[..., :3])
    palette = grey.convert("P")
    np.testing.assert_array_equal(pixels_of(encoded(palette), same), expected)


def test_images_whose_range_or_shape_is_unclear_are_errors(rng):
    for image in (Image.new("F", (8, 8), 0.9), Image.new("I", (8, 8), 70_000)):
        with pytest.raises(ValueError, match="32 bits"):
            pixels_of(encoded(image, "TIFF"), Preprocessing(8, 8))
    with pytest.raises(ValueError, match="3 x 400 pixels, more than 100 times as long as wide"):
        pixels_of(encoded(Image.new("RGB", (3, 400))), Preprocessing(8, 8))


def test_chestx_is_resized_to_256_first_under_preset_cdfsl(rng):
    image = noise(rng, (300, 280), "L")
    ours = with_geometry(Preprocessing(), "cdfsl", None, 256)
    first = image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    second = first.resize((257, 257), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    np.testing.assert_array_equal(pixels_of(encoded(image), ours), np.asarray(second))
    assert with_geometry(Preprocessing(), "paper", None, 256).first_resize_px == 0


@pytest.mark.parametrize(
    "wrong", [{"crop_px": 300}, {"crop_px": 0}, {"std": (1.0, 0.0, 1.0)}, {"mean": (0.0, math.nan, 0.0)}]
)
def test_impossible_preprocessing(wrong):
    with pytest.raises(UsageError):
        Preprocessing(**wrong)


@pytest.mark.parametrize(
    "sizes", [{"resize_px": 60000}, {"resize_px": 2**32, "crop_px": 2**32}, {"first_resize_px": 10**30}]
)
def test_sizes_that_no_memory_holds_are_refused(sizes):
    with pytest.raises(UsageError, match="images are resized to at most 4096 px"):
        Preprocessing(**sizes)


@pytest.mark.parametrize("image_px", [0, 5000, 10**400])
def test_images_of_sizes_that_no_memory_holds_are_refused(image_px):
    with pytest.raises(UsageError, match=f"images of {image_px} px: 1 to 4096 px are possible"):
        with_geometry(Preprocessing(), None, image_px)


def test_an_image_that_would_become_huge_cannot_be_read(rng):
    with pytest.raises(ValueError, match="it would be 400000 x 4000 pixels once resized"):
        pixels_of(encoded(noise(rng, (200, 2))), Preprocessing(4000, 8))
