"""Shipped cards: each builds its network as it says, and reads what its publisher has laid out."""

import pytest
import torch
from reference.layouts import LAYOUTS, write
from reference.layouts.resnets import mmselfsup

from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.build import build_network, count_norms
from fewshot_bn.backbones.card import ModelCard, shipped_models
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.files.cards import read_card
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.rng import torch_generator


def card_of(name):
    return read_card(shipped_models()[name], ModelCard, ModelError)


@pytest.mark.parametrize("name", [name for name in shipped_models() if name != DEFAULT_MODEL])
def test_a_card_builds_what_it_says(name):
    card = card_of(name)
    with torch.device("meta"):
        network = build_network(card)
        side = card.preprocessing.crop_px
        z = network.eval()(torch.zeros(2, 3, side, side))
    assert card.name == name
    assert (z.shape, count_norms(network)) == ((2, card.features), card.norms)


@pytest.mark.parametrize("name", shipped_models())
def test_a_card_says_where_its_facts_are_from(name):
    card = card_of(name)
    assert card.title
    assert card.licence
    assert card.source
    assert card.citation or card.recipe
    assert card.weights == card.weights.strip("/")
    assert card.url.startswith("https://") or card.get or card.recipe


def random_network(card):
    """The network of a card with random weights and statistics."""
    network = build_network(card).eval()
    generator = torch_generator(1, "a test")
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.mul_(1 + 0.2 * noise).add_(2 * noise if key.endswith("running_var") else 0.02 * (noise - 0.5))
    return network


def assert_reads(card, layout, folder):
    """That a network with random weights gives the same features once its publisher's file has been read."""
    network, path = random_network(card), folder / card.weights
    write(layout(network.state_dict()), path)
    expected = freeze_in_place(network, "expected", "", card.preprocessing, architecture="")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = load_backbone(card.name, weights=str(path))
    assert 0 < expected.features(x).std() < 1e6
    torch.testing.assert_close(found.features(x), expected.features(x), rtol=0, atol=0)


QUICK = "moco-v2"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.full] * (n != QUICK)) for n in LAYOUTS])
def test_a_card_reads_what_its_publisher_lays_out(name, tmp_path):
    assert_reads(card_of(name), LAYOUTS[name], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in shipped_models() if "mmselfsup" in card_of(name).forms])
def test_a_card_reads_the_form_of_mmselfsup(name, tmp_path):
    assert_reads(card_of(name), mmselfsup, tmp_path)
