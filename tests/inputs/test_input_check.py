"""What a run says of its input, and what it does not cost."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.commands import answers, run
from reference.networks import small_backbone, trained_on
from torch import nn

from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError
from fewshot_bn.files.atomic import sha256_of
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.input_check import COMMON, in_words
from fewshot_bn.inputs.input_statistics import Symptoms
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.rng import torch_state

CPU = torch.device("cpu")
ROWS = np.arange(29)
HALVES = Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def dataset(image_folder):
    return open_dataset(str(image_folder))


@pytest.fixture
def trained(dataset):
    """A backbone that knows these images, in -1..1."""
    return trained_on(small_backbone(), Images(dataset, HALVES).gather(ROWS))


def features_of(dataset, backbone, cache=None):
    features = Features(Images(dataset, backbone.preprocessing), backbone, device=CPU, cache=cache)
    n_computed = sum(features.compute(ROWS))
    return features, n_computed


def as_if(backbone, common):
    """The backbone with one of the common normalisations on its card."""
    mean, std = COMMON[common]
    return replace(backbone, preprocessing=replace(backbone.preprocessing, mean=mean, std=std))


def test_the_right_normalisation_is_nothing_to_speak_of(dataset, trained):
    assert not list(features_of(dataset, trained)[0].check.findings())


def test_a_wrong_normalisation_is_said_once_with_the_one_that_fits(dataset, trained):
    features, _ = features_of(dataset, as_if(trained, "pixels in 0..255"))
    (said,) = features.check.findings()
    assert said.startswith("small: the first BatchNorm layer sees means ")
    assert "times the spread of training (normalised images have means " in said
    assert said.endswith("pixels in -1..1 would fit (mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] on the card)")
    assert "\n" not in said
    assert not list(features.check.findings())


def test_images_that_no_common_normalisation_makes_fit(dataset, trained):
    trained.module.bn1.running_mean += 100
    (said,) = features_of(dataset, trained)[0].check.findings()
    assert said.endswith("check mean, std and weights of the card, and look at the images")


def test_layers_behind_the_first_are_spoken_of_where_they_are_far(dataset, trained):
    for layer in (trained.module.bn2, trained.module.bn3):
        layer.running_mean += 100
    (said,) = features_of(dataset, trained)[0].check.findings()
    assert said.startswith("small: half of the BatchNorm layers see means ")


def test_what_was_found_stays_beside_the_features(dataset, trained, tmp_path):
    wrong = as_if(trained, "pixels in 0..255")
    first, n_computed = features_of(dataset, wrong, tmp_path)
    again, n_again = features_of(dataset, wrong, tmp_path)
    assert (n_computed, n_again) == (29, 0)
    assert list(again.check.findings()) == list(first.check.findings())
    assert not again.check.wanted or again.check.order(ROWS) is ROWS


def test_more_images_count_more_and_fewer_change_nothing(dataset, trained, tmp_path):
    wrong, images = as_if(trained, "pixels in 0..255"), Images(dataset, HALVES)
    for rows, n_seen in ((ROWS[:20], 20), (ROWS[20:25], 20), (ROWS[25:], 20)):
        sum(Features(images, wrong, device=CPU, cache=tmp_path).compute(rows))
        (kept,) = tmp_path.rglob("input.json")
        assert json.loads(kept.read_text())["n_images"] == n_seen


def test_a_few_images_say_nothing(dataset, trained):
    wrong = as_if(trained, "pixels in 0..255")
    features = Features(Images(dataset, HALVES), wrong, device=CPU)
    sum(features.compute(ROWS[:9]))
    assert not list(features.check.findings())


def test_untrained_networks_are_left_alone(dataset):
    with torch_state(0, "untrained"):
        network = CifarResNet(depth=8, width=4)
    wrong = replace(HALVES, std=(1 / 255,) * 3)
    backbone = freeze_in_place(network, "random", "random", wrong, architecture="")
    features, _ = features_of(dataset, backbone)
    assert not features.check.wanted
    assert not list(features.check.findings())


@pytest.mark.parametrize(("std", "says"), [(0.25, False), (1 / 255, True)])
def test_a_network_without_batch_norm_is_told_of_unusual_images_alone(dataset, std, says):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    wrong = replace(HALVES, std=(std,) * 3)
    features, _ = features_of(dataset, freeze_in_place(network, "plain", "", wrong, architecture=""))
    said = list(features.check.findings())
    assert bool(said) == says
    if says:
        assert said[0].startswith("plain: normalised images have means ")
        assert "most networks are trained near 0 and 1: check mean, std" in said[0]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "{}", '{"n_images": 3}', "DIM", "DIMS", "NAN", "HALF", "FITS", "[" * 10_000]
)
def test_damage_is_named(dataset, trained, tmp_path, text):
    features_of(dataset, trained, tmp_path)
    (kept,) = tmp_path.rglob("input.json")
    values = json.loads(kept.read_text())
    damaged = {
        "DIM": {"mean": [0.5]},
        "DIMS": {"mean": [0.5] * 2, "std": [0.5] * 4},
        "NAN": {"shift": float("nan")},
        "HALF": {"spread": None},
        "FITS": {"fits": "anything"},
    }
    kept.write_text(json.dumps(values | damaged[text]) if text in damaged else text)
    with pytest.raises(DataError, match=r"input.json: what the input check has kept is damaged .*; delete it"):
        features_of(dataset, trained, tmp_path)


def test_features_are_bit_for_bit_those_without_the_check(dataset, trained):
    checked, _ = features_of(dataset, trained)
    plain = Features(Images(dataset, HALVES), trained, device=CPU)
    plain.check.wanted_images = 0
    sum(plain.compute(ROWS))
    assert torch.equal(checked.gather(ROWS), plain.gather(ROWS))


def test_the_images_that_are_looked_at_are_of_all_parts_of_the_data(dataset, trained, monkeypatch):
    monkeypatch.setattr("fewshot_bn.inputs.input_check.N_IMAGES", 4)
    features = Features(Images(dataset, HALVES), trained, device=CPU)
    order = features.check.order(ROWS)
    assert order[:4].tolist() == [0, 9, 18, 28]
    assert sorted(order.tolist()) == ROWS.tolist()


def test_no_image_is_forwarded_for_it_where_all_is_well(dataset, trained, monkeypatch):
    batches = []
    forward = trained.module.conv1.forward
    monkeypatch.setattr(trained.module.conv1, "forward", lambda x: batches.append(len(x)) or forward(x))
    features_of(dataset, trained)
    assert batches == [32]


def test_symptoms_in_words_of_a_card_without_a_fault_are_none():
    seen = Symptoms(64, (0.45,) * 3, (0.25,) * 3, shift=0.1, spread=0.1, deep_shift=0.1, deep_spread=0.1)
    assert in_words(seen, "card", HALVES) == ""
    assert in_words(replace(seen, spread=2.0), "card", HALVES) != ""


@pytest.fixture
def wrong_card(here):
    """The card of a network that was trained on the images of `here` in -1..1, which says 0..255."""
    with torch_state(0, "tiny"):
        network = CifarResNet(depth=8, width=4, stem_stride=2)
    halves = Preprocessing(16, 16, mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone = freeze_in_place(network, "tiny", "", halves, architecture="")
    trained_on(backbone, Images(open_dataset("shapes"), halves).gather(ROWS))
    torch.save(network.state_dict(), here / "weights.pth")
    card = here / "card.toml"
    lines = [line for line in card.read_text().splitlines() if not line.startswith("preprocessing")]
    sha256 = sha256_of(here / "weights.pth")
    text = "\n".join(line for line in lines if not line.startswith("sha256"))
    card.write_text(
        f'{text}\nsha256 = "{sha256}"\npreprocessing = {{ resize_px = 16, crop_px = 16, mean = [0, 0, 0], '
        "std = [0.004, 0.004, 0.004] }\n"
    )


@pytest.mark.parametrize("mode", ["proto", "bn"])
def test_every_run_says_it_once(wrong_card, here, own_cache, capsys, mode):
    def said(*arguments):
        assert run("--mode", mode, "--baseline", "none", "--n-support", "1", "2", *arguments) == 0
        return [line for line in capsys.readouterr().err.splitlines() if "tiny: the first BatchNorm layer" in line]

    first = said("--output", "first")
    assert len(first) == 1
    assert first[0].startswith("note: tiny: ")
    assert said("--output", "second") == first  # finds the features
    assert said("--output", "second") == first  # finds its results
    assert len(said("--output", "third", "--no-store", "--no-feature-cache")) == 1
    assert answers(here / "first") == answers(here / "third")
