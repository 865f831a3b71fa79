"""Models that have no card, from the command line to their results."""

import pytest
from reference.commands import results, run

from fewshot_bn import FewShotConfig, Preprocessing, load_backbone
from fewshot_bn.data import main as data
from fewshot_bn.experiment import results as results_of

NETWORK = """
from fewshot_bn.backbones.networks import CifarResNet

def make():
    return CifarResNet(depth=8, width=4, stem_stride=2)
"""
HALVED = "resize=24,crop=16,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"


def only(found):
    """The preprocessing of all results, which is one."""
    (first, *others) = [result.key["backbone"] for result in found.values()]
    assert all(other == first for other in others)
    return first


def test_a_network_of_ones_own(here, capsys):
    (here / "mine.py").write_text(NETWORK)
    assert run("--model", "mine.py:make", "--mode", "proto") == 2
    assert capsys.readouterr().err.startswith("error: mine.py:make: it has no preprocessing; give the network an attri")
    assert run("--model", "mine.py:make", "--preprocessing", HALVED, "--mode", "proto") == 0
    found = only(results(here / "results"))
    assert (found["name"], found["weights"]) == ("mine:make", "as built")
    assert (found["preprocessing"]["resize_px"], found["preprocessing"]["std"]) == (24, [0.5, 0.5, 0.5])
    assert "mine:make (as built) at 16 px" in capsys.readouterr().err
    files = sorted((here / "results").iterdir())
    assert run("--model", "mine.py:make", "--preprocessing", HALVED, "--mode", "proto") == 0
    assert sorted((here / "results").iterdir()) == files  # the same code is the same result


def test_preprocessing_changes_the_result_and_image_size_applies_on_top(here):
    halve = ["--preprocessing", HALVED]
    for folder, more in {"a": [], "b": halve, "c": [*halve, "--image-size", "32"]}.items():
        assert run("--mode", "proto", "--output", folder, *more) == 0
    own, halved, larger = (only(results(here / folder))["preprocessing"] for folder in "abc")
    assert (own["crop_px"], halved["crop_px"], larger["crop_px"]) == (16, 16, 32)
    assert (own["resize_px"], halved["resize_px"], larger["resize_px"]) == (16, 24, 48)
    assert own["mean"] != halved["mean"] == larger["mean"]


@pytest.mark.parametrize(
    ("arguments", "geometry"),
    [
        (["--model", "mine.py:make", "--preprocessing", HALVED], "bicubic-short-side-24-crop-16"),
        (["--model", "card.toml@random", "--preprocessing", "crop=8"], "bicubic-short-side-16-crop-8"),
        (["--model", "resnet18@IMAGENET1K_V1", "--image-size", "28"], "bilinear-short-side-32-crop-28"),
    ],
)
def test_images_are_decoded_beforehand_for_a_model_by_name(here, capsys, arguments, geometry):
    (here / "mine.py").write_text(NETWORK)
    assert data(["prepare", "shapes", *arguments]) == 0
    assert geometry in capsys.readouterr().out


def test_preprocessing_of_an_object(here):
    quick = {"n_way": 3, "n_support": 2, "n_query": 4, "n_episodes": 2, "modes": "proto", "baseline": None}
    config = FewShotConfig(
        dataset="shapes", model=load_backbone("card.toml"), preprocessing=Preprocessing(24, 16), **quick
    )
    (result,) = results_of(config)
    assert result.key["backbone"]["preprocessing"]["resize_px"] == 24


@pytest.mark.full
def test_a_network_of_timm_is_tuned(here, capsys):
    asked = ["--model", "timm:test_efficientnet@random", "--image-size", "32", "--mode", "bn"]
    assert run(*asked) == 0
    found = only(results(here / "results"))
    assert (found["name"], found["weights"], found["preprocessing"]["crop_px"]) == (
        "timm:test_efficientnet",
        "random",
        32,
    )
    assert "timm:test_efficientnet (random) at 32 px" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "resnet18@random", "--weights", "w.pth"],
            "asks for the weights random, --weights for w.pth",
        ),
        (
            ["--model", "absent:make"],
            "absent:make: unknown library 'absent'; choose from: torchvision, timm",
        ),
        (["--preprocessing", "crop=50"], "cannot crop 50 px"),
        (["--preprocessing", "crops=5"], "--preprocessing crops=5: unknown part 'crops' (did you mean 'crop'?)"),
    ],
)
def test_errors_are_one_line(here, capsys, arguments, message):
    status = run("--mode", "proto", *arguments)
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1)
    assert message in error
