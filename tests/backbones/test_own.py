"""Networks of the user's own: copied, told apart by what they are, refused in words."""

import copy
import importlib.util
import sys

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from fewshot_bn import freeze
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.preprocessing import Preprocessing

AS_IT_IS = Preprocessing(8, 8)
SOURCE = """
from torch import nn

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        return self.linear(x.mean((2, 3))) * {factor}
"""


def frozen(network, **more):
    return freeze(network, "mine", "epoch 1", AS_IT_IS, **more)


def own_network(folder, factor):
    (folder / "networks.py").write_text(SOURCE.format(factor=factor))
    spec = importlib.util.spec_from_file_location("networks_of_a_test", folder / "networks.py")
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    return sys.modules[spec.name].Mean()


def test_the_network_can_be_trained_on_without_changing_the_backbone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    backbone = frozen(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not backbone.module.training
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = backbone.features(x)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    network(x).sum().backward()
    optimiser.step()
    assert torch.equal(backbone.features(x), before)
    assert frozen(network).fingerprint != backbone.fingerprint


def test_networks_of_the_same_weights_are_told_apart_by_their_modules():
    def network(**settings):
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            return nn.Sequential(nn.Conv2d(3, 4, 3, **settings), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    assert frozen(network()).fingerprint == frozen(network()).fingerprint
    assert frozen(network()).fingerprint != frozen(network(stride=2)).fingerprint
    assert frozen(network()).fingerprint != frozen(network(), architecture="an option").fingerprint


def test_networks_of_the_same_weights_are_told_apart_by_their_code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    weights = {"linear.weight": torch.ones(4, 3), "linear.bias": torch.zeros(4)}
    found = []
    for factor in (1, 1, 2):
        network = own_network(tmp_path, factor)
        network.load_state_dict(weights)
        found.append(frozen(network).fingerprint)
    assert found[0] == found[1] != found[2]


def test_code_of_installed_libraries_is_not_looked_at(monkeypatch):
    monkeypatch.setattr("fewshot_bn.backbones.own.code_of", None)
    network = resnet18()
    network.fc = nn.Identity()
    assert freeze(network, "mine", "none", Preprocessing(32, 32)).dim == 512


def test_a_class_without_code_needs_the_name_of_a_version():
    names = {"nn": nn, "__name__": "typed"}
    exec(SOURCE.format(factor=1), names)
    with pytest.raises(
        ModelError, match="mine: Mean: its source cannot be found.* or name its version in architecture="
    ):
        frozen(names["Mean"]())
    assert (
        frozen(names["Mean"](), architecture="1").fingerprint != frozen(names["Mean"](), architecture="2").fingerprint
    )


def test_a_network_that_cannot_be_copied_is_said():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.kept = (torch.ones(2, requires_grad=True) * 2,)
    with pytest.raises(ModelError, match="mine: the network cannot be copied .*; build it anew and load its weights"):
        frozen(network)


@pytest.mark.full  # importing the compiler takes seconds
def test_a_compiled_network_is_the_network_that_was_compiled():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    inside, in_place = copy.deepcopy(plain), copy.deepcopy(plain)
    inside[1] = torch.compile(inside[1])
    in_place.compile()
    expected = frozen(plain)
    for network in (torch.compile(plain), inside, in_place):
        found = frozen(network)
        assert found.fingerprint == expected.fingerprint
        assert [type(module) for module in found.module.modules()] == [type(module) for module in plain.modules()]
        assert not any(module._compiled_call_impl for module in found.module.modules())
    assert in_place._compiled_call_impl


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (nn.Conv2d(3, 4, 3), r"values of shape \[2, 4, 6, 6\] for two images"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1)), r"values of shape \[2, 3, 1, 1\] for two images"),
    ],
)
def test_what_a_network_gives_instead_of_features_is_told(network, found):
    with pytest.raises(ModelError, match=rf"{found}.*let it return features \[b d\], as nn.Flatten after pooling"):
        frozen(network)


def test_weights_that_lie_deeper_are_the_part_that_the_message_names(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "x.pth")
    wanted = r'the part that fits \(\[keys\] unwrap = "state_dict", prefix = "module\."'
    with pytest.raises(ModelError, match=wanted):
        load_backbone(network, weights=tmp_path / "x.pth", preprocessing=AS_IT_IS)
