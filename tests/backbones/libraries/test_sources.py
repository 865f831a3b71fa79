"""A library of networks is one entry: its networks are backbones by name, by card, random and with weights of one."""

import pytest
import torch
from torch import nn

from fewshot_bn.backbones.libraries.sources import SOURCES, Library, all_names, split_name
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.preprocessing import Preprocessing


class Tiny(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.Linear(width, 7)

    def forward(self, x):
        return self.head(self.bn(self.conv(x)).relu().mean((2, 3)))


def build(name, arguments):
    network = Tiny(**arguments)
    network.head = nn.Identity()
    return network, ("head",)


def official(name, weights):
    state = Tiny().state_dict()
    state["conv.weight"].fill_(0.25)
    return weights or "v1", state


def preprocessing(name, weights):
    return Preprocessing(12, 12) if weights else Preprocessing(16, 16)


@pytest.fixture(autouse=True)
def library(monkeypatch):
    own = Library(lambda: ["tiny", "resnet18"], build, official, preprocessing)
    monkeypatch.setitem(SOURCES, "own", own)


def test_names_are_found_with_and_without_their_library():
    assert split_name("own:tiny") == split_name("tiny") == ("own", "tiny")
    assert split_name("resnet18") == ("torchvision", "resnet18")  # the first library that knows it
    assert split_name("own:resnet18") == ("own", "resnet18")
    assert split_name("other:tiny") == ("", "other:tiny")
    assert {"tiny", "resnet50"} <= set(all_names())


def test_its_networks_are_backbones():
    backbone = load_backbone("own:tiny")
    assert (backbone.name, backbone.weights, backbone.dim) == ("tiny", "v1", 4)
    assert backbone.preprocessing == Preprocessing(12, 12)
    assert (backbone.module.conv.weight == 0.25).all()
    random = load_backbone("tiny", weights="random")
    assert random.preprocessing == Preprocessing(16, 16)
    assert random.fingerprint != backbone.fingerprint


def test_weights_of_a_file_lose_their_head(tmp_path):
    torch.save(Tiny().state_dict(), tmp_path / "w.pth")
    assert load_backbone("tiny", weights=str(tmp_path / "w.pth")).weights == "w.pth"


def test_a_card_may_name_it(tmp_path):
    (tmp_path / "card.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nnetwork = "own:tiny"\narguments = { width = 6 }\nweights = "w.pth"\n'
        "preprocessing = { resize_px = 16, crop_px = 16 }\n"
    )
    assert load_backbone(str(tmp_path / "card.toml"), weights="random").dim == 6


def test_an_unknown_name_lists_those_of_all_libraries():
    with pytest.raises(UsageError, match=r"unknown model 'tinny' \(did you mean 'tiny'\?\)"):
        load_backbone("tinny")
