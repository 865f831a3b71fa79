"""Preprocessing by a list of changes, a table, a card, a name, and for every kind of model."""

from dataclasses import replace

import pytest
from torch import nn

from fewshot_bn import load_backbone
from fewshot_bn.backbones.named_preprocessing import preprocessing_of
from fewshot_bn.errors import FewshotError, ModelError, UsageError
from fewshot_bn.preprocessing import Preprocessing

OWN = Preprocessing(256, 224, interpolation="bilinear", mean=(0.1, 0.2, 0.3))
HALF = (0.5, 0.5, 0.5)


def own():
    return OWN


def none():
    raise ModelError("it has none")


def test_without_a_word_it_is_the_networks_own():
    assert preprocessing_of(None, own) == OWN
    with pytest.raises(ModelError, match="it has none"):
        preprocessing_of(None, none)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("crop=128", {"crop_px": 128}),
        ("resize=300, crop = 288", {"resize_px": 300, "crop_px": 288}),
        ("mean=0.5/0.5/0.5,std=0.5/0.5/0.5", {"mean": HALF, "std": HALF}),
        ("interpolation=bicubic,keep_aspect=false", {"interpolation": "bicubic", "keep_aspect": False}),
        ("first_resize=64", {"first_resize_px": 64}),
    ],
)
def test_a_list_changes_what_it_names(text, changes):
    assert preprocessing_of(text, own) == replace(OWN, **changes)


def test_a_list_for_a_network_that_brings_none_has_to_name_what_matters():
    found = preprocessing_of("crop=96,mean=0.5/0.5/0.5,std=1/1/1", none)
    assert found == Preprocessing(96, 96, mean=HALF, std=(1.0, 1.0, 1.0))
    with pytest.raises(ModelError, match=r"it has none \(--preprocessing does not name mean, std\)"):
        preprocessing_of("resize=112,crop=96", none)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "size=224",
            r"--preprocessing size=224: unknown part 'size' \(did you mean 'resize'\?\); choose from: resize, crop",
        ),
        ("crop=1,crop=2", "names crop twice"),
        ("crop=large", "crop is 'large'; a whole number of pixels is needed"),
        ("mean=0.5", "mean is '0.5'; 3 numbers such as 0.5/0.5/0.5 is needed"),
        ("mean=0.5;0.5;0.5", "mean is '0.5;0.5;0.5'; 3 numbers such as 0.5/0.5/0.5 is needed"),
        ("keep_aspect=maybe", "keep_aspect is 'maybe'; true or false is needed"),
        ("interpolation=lanczos", "interpolation: unknown value 'lanczos'; choose from: bilinear, bicubic"),
        ("crop=300", "cannot crop 300 px out of images resized to 256 px"),
        ("std=0/1/1", "std above 0"),
        ("mean=nan/1/1", "they must be finite"),
        ("resnet05", r"unknown preprocessing 'resnet05' \(did you mean 'resnet50'\?\).*; it is a card or the name of"),
        ("absent.toml", "this card cannot be read"),
        ("", "preprocessing is ''; a Preprocessing, a dict"),
        (3, "preprocessing is 3; a Preprocessing, a dict of its fields, or a text is needed"),
        ({"crop": 3}, r"preprocessing: unknown field 'crop' \(did you mean 'crop_px'\?\)"),
        ({"mean": (1, 2)}, "preprocessing: mean: has 2 values, 3 are needed"),
    ],
)
def test_what_is_none_is_told_in_one_line(given, message):
    with pytest.raises(FewshotError, match=message) as problem:
        preprocessing_of(given, own)
    assert "\n" not in str(problem.value)


def test_a_table_a_card_and_a_name(tmp_path):
    (tmp_path / "only.toml").write_text("[preprocessing]\nresize_px = 72\ncrop_px = 64\nmean = [0.5, 0.5, 0.5]\n")
    assert preprocessing_of(str(tmp_path / "only.toml"), none) == Preprocessing(72, 64, mean=HALF)
    assert preprocessing_of(tmp_path / "only.toml", none) == Preprocessing(72, 64, mean=HALF)
    assert preprocessing_of("moco-v2", none) == Preprocessing(256, 224, interpolation="bilinear")
    assert preprocessing_of("resnet50", none) == preprocessing_of("torchvision:resnet50", none)
    assert preprocessing_of("timm:resnet18.a1_in1k", none).geometry == "bicubic-short-side-235-crop-224"
    assert preprocessing_of("resnet50@IMAGENET1K_V2", none).resize_px == 232
    assert preprocessing_of("timm:resnet18@tv_in1k", none).geometry == "bilinear-short-side-256-crop-224"
    with pytest.raises(UsageError, match="unknown weights of resnet50 'V3'"):
        preprocessing_of("resnet50@V3", none)
    assert preprocessing_of({"resize_px": 9, "crop_px": 8, "mean": HALF}, none) == Preprocessing(9, 8, mean=HALF)
    (tmp_path / "empty.toml").write_text("title = 'no table'\n")
    with pytest.raises(ModelError, match=r"empty.toml: has no table \[preprocessing\]"):
        preprocessing_of(tmp_path / "empty.toml", none)
    (tmp_path / "wrong.toml").write_text("[preprocessing]\ncrop_px = '64'\n")
    with pytest.raises(ModelError, match="wrong.toml: preprocessing: crop_px: '64' is not of type int"):
        preprocessing_of(tmp_path / "wrong.toml", none)


@pytest.mark.parametrize("model", ["fractal_resnet8", "resnet18", "timm:test_resnet"])
def test_it_replaces_that_of_every_kind_of_model(model):
    plain = load_backbone(model, weights="random")
    found = load_backbone(model, weights="random", preprocessing="resize=80,crop=64,mean=0.5/0.5/0.5")
    assert found.preprocessing == replace(plain.preprocessing, resize_px=80, crop_px=64, mean=HALF)
    assert found.fingerprint == plain.fingerprint


def test_images_that_the_network_does_not_take_are_told():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    assert load_backbone(network, preprocessing={"resize_px": 8, "crop_px": 8}).dim == 4
    with pytest.raises(ModelError, match="Sequential: does not take images of 9 px"):
        load_backbone(network, preprocessing={"resize_px": 9, "crop_px": 9})
    with pytest.raises(UsageError, match="model is a int; a name, a path or an nn.Module is needed"):
        load_backbone(3)
