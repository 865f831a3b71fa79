"""Networks without memory have the names and shapes of those that are built."""

import pytest
import torch

from fewshot_bn.backbones.build import build_network
from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.outline import outline
from fewshot_bn.preprocessing import Preprocessing


def card_of(network):
    return ModelCard(network, network, network, Preprocessing(), "")


@pytest.mark.parametrize("network", ["cifar_resnet", "conv4", "torchvision:resnet18", "torchvision:regnet_y_400mf"])
def test_names_and_shapes(network):
    made, own = outline(card_of(network)), build_network(card_of(network))
    assert {k: (v.shape, v.dtype) for k, v in made.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in own.state_dict().items()
    }
    assert all(parameter.is_meta for parameter in made.parameters())
    assert not made.training


@pytest.mark.parametrize("name", shipped_models())
def test_every_card_has_an_outline(name):
    assert all(parameter.is_meta for parameter in outline(read_model_card(shipped_models()[name])).parameters())


def test_what_is_made_afterwards_has_memory():
    outline(card_of("cifar_resnet"))
    assert not torch.zeros(1).is_meta
