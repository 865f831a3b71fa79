"""Files that hold the network of a card in another form than its publisher's."""

import pytest
import torch
from reference.layouts.others import FORMS, LAYOUTS

from fewshot_bn.backbones.build import build_network
from fewshot_bn.backbones.cards.card import ModelCard, shipped_models
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.files.cards import read_card


def card_of(name):
    return read_card(shipped_models()[name], ModelCard, ModelError)


def moved(network):
    """Its state, with values that no build of it has."""
    return {k: v + 0.01 if v.is_floating_point() else v for k, v in network.state_dict().items()}


@pytest.mark.full
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_card_reads_its_other_forms(name, form, tmp_path):
    card = card_of(name)
    assert form in card.forms
    state = moved(build_network(card))
    torch.save(FORMS[name, form](state), tmp_path / "other.pth")
    found = load_backbone(name, weights=str(tmp_path / "other.pth")).module.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_every_form_of_these_cards_is_tried():
    assert {(name, form) for name in LAYOUTS for form in card_of(name).forms} == set(FORMS)


@pytest.mark.full
def test_half_precision_weights_of_clip_load(tmp_path):
    state = moved(build_network(card_of("clip-rn50")))
    half = {k: v.half() if "conv" in k or "proj" in k else v for k, v in state.items()}  # norm layers stay as they are
    torch.save(LAYOUTS["clip-rn50"](half), tmp_path / "half.pth")
    found = load_backbone("clip-rn50", weights=str(tmp_path / "half.pth")).module.state_dict()
    assert all(torch.equal(found[key], value.float()) for key, value in half.items() if value.is_floating_point())
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
