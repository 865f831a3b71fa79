"""Networks of the user's own by name: a function, class or network of a file or of a package."""

import importlib
import sys

import pytest
import torch
from torch import nn

from fewshot_bn import Preprocessing, load_backbone
from fewshot_bn.errors import ModelError, UsageError

CODE = """
from torch import nn
{beside}

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        {inside}

    def forward(self, x):
        return self.bn(self.conv(x)).relu().mean((2, 3)) * {factor}

def make():
    return Net()

def maps():
    return nn.Conv2d(3, 4, 3)

def broken():
    raise RuntimeError("no data here")

def number():
    return 3

def leave():
    raise SystemExit(0)

def with_arguments(width):
    return Net(width)

network = Net()
"""
EIGHT = "dict(resize_px=8, crop_px=8, mean=(0.5, 0.5, 0.5))"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the code into a package and say its name; afterwards nothing of it is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def written(beside=f"preprocessing = {EIGHT}", inside="", factor=1):
        forget()
        (tmp_path / "own_nets").mkdir(exist_ok=True)
        (tmp_path / "own_nets" / "__init__.py").touch()
        (tmp_path / "own_nets" / "nets.py").write_text(CODE.format(beside=beside, inside=inside, factor=factor))
        return "own_nets.nets"

    def forget():
        for name in set(sys.modules) - before:
            if name.startswith("own_"):
                del sys.modules[name]
        importlib.invalidate_caches()

    yield written
    forget()


@pytest.mark.parametrize("name", ["make", "Net", "network"])
def test_a_function_a_class_and_a_network(write, name):
    backbone = load_backbone(f"{write()}:{name}")
    assert (backbone.name, backbone.weights, backbone.dim) == (f"nets:{name}", "as built", 4)
    assert backbone.preprocessing == Preprocessing(8, 8, mean=(0.5, 0.5, 0.5))


def test_a_file_is_the_same_as_a_module(write):
    module = load_backbone(f"{write()}:make")
    file = load_backbone("own_nets/nets.py:make")
    assert (file.name, file.fingerprint, file.dim) == (module.name, module.fingerprint, 4)
    torch.rand(2)
    assert load_backbone("own_nets/nets.py:make").fingerprint == file.fingerprint  # chance is at a fixed place


@pytest.mark.parametrize(
    ("beside", "inside"),
    [
        (f"preprocessing = {EIGHT}", ""),
        ("", f"self.preprocessing = {EIGHT}"),
        ("preprocessing = dict(crop_px=16)", f"self.preprocessing = {EIGHT}"),  # the network's own goes first
        ("from fewshot_bn import Preprocessing\npreprocessing = Preprocessing(8, 8, mean=(0.5, 0.5, 0.5))", ""),
    ],
)
def test_preprocessing_is_an_attribute_or_stands_beside(write, beside, inside):
    assert load_backbone(f"{write(beside, inside)}:make").preprocessing == Preprocessing(8, 8, mean=(0.5, 0.5, 0.5))


def test_preprocessing_of_the_option_counts_more(write):
    name = f"{write('preprocessing = 3')}:make"
    assert load_backbone(name, preprocessing="crop=16,mean=0/0/0,std=1/1/1").preprocessing.crop_px == 16
    assert load_backbone(name, preprocessing="moco-v2").preprocessing.crop_px == 224
    assert load_backbone(name, preprocessing=Preprocessing(9, 8)).preprocessing == Preprocessing(9, 8)


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (
            "",
            r"nets:make: it has no preprocessing; give the network an attribute .* --preprocessing NAME; or say",
        ),
        ("preprocessing = 3", "own_nets.nets:make: its preprocessing is a int; give the network an attribute"),
        ("preprocessing = dict(crop=8)", r"preprocessing: unknown field 'crop' \(did you mean 'crop_px'\?\)"),
    ],
)
def test_no_preprocessing(write, beside, message):
    with pytest.raises(ModelError, match=message):
        load_backbone(f"{write(beside)}:make")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maps", r"nets:maps: gives no feature vector per image of 8 px, but values of shape \[2, 4, 6, 6\]"),
        ("broken", r"own_nets.nets:broken: fails: RuntimeError: no data here \(line \d+\)"),
        ("leave", r"own_nets.nets:leave: fails: SystemExit: 0"),
        ("number", "own_nets.nets:number: gives a int; an nn.Module, or a class or function that gives one"),
        ("with_arguments", "own_nets.nets:with_arguments: fails: TypeError: .* missing 1 required positional"),
        ("mak", r"own_nets.nets: unknown name 'mak' \(did you mean 'make'\?\)"),
    ],
)
def test_what_is_wrong_with_a_factory_is_one_line(write, name, message):
    with pytest.raises((ModelError, UsageError), match=message):
        load_backbone(f"{write()}:{name}")


def test_names_that_lead_nowhere(write):
    write()
    with pytest.raises(UsageError, match=r"unknown library 'tim' \(did you mean 'timm'\?\).*; or name a module"):
        load_backbone("tim:resnet18")
    with pytest.raises(UsageError, match=r"own_nets.absent: there is no module own_nets.absent, neither installed nor"):
        load_backbone("own_nets.absent:make")
    with pytest.raises(UsageError, match=r"there is no file absent.py"):
        load_backbone("absent.py:make")


def test_a_module_that_cannot_be_imported(write, tmp_path):
    write()
    (tmp_path / "own_nets" / "bad.py").write_text("import no_such_library\n")
    with pytest.raises(UsageError, match="own_nets.bad: cannot be imported: ModuleNotFoundError: No module named 'no"):
        load_backbone("own_nets.bad:make")


def test_weights_of_a_file_are_strict_and_random_ones_leave_the_network_alone(write, tmp_path):
    name = f"{write()}:network"
    built = load_backbone(name)
    state = {key: value + 1 for key, value in built.module.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    loaded, random = load_backbone(name, weights=tmp_path / "w.pth"), load_backbone(f"{name}@random")
    assert (loaded.weights, random.weights) == ("w.pth", "random")
    assert torch.equal(loaded.module.conv.bias, built.module.conv.bias + 1)
    assert not random.module.conv.bias.any()
    assert load_backbone(name).fingerprint == built.fingerprint  # what the module holds is as before
    assert len({built.fingerprint, loaded.fingerprint, random.fingerprint}) == 3
    torch.save({**state, "head.weight": torch.ones(2)}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match=r"more.pth: these weights do not fit the network: 1 unexpected \(head.w"):
        load_backbone(name, weights=tmp_path / "more.pth")


def test_results_are_kept_by_code(write):
    found = [load_backbone(f"{write(factor=factor)}:make").fingerprint for factor in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    beside = load_backbone(f"{write(beside='preprocessing = ' + EIGHT + chr(10) + 'SETTING = 2')}:make")
    assert beside.fingerprint != found[0]


def test_code_of_a_package_counts_where_it_is_installed(write, monkeypatch, tmp_path):
    monkeypatch.setattr("fewshot_bn.backbones.own.INSTALLED", [tmp_path])
    found = [load_backbone(f"{write(factor=factor)}:make").fingerprint for factor in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_a_network_in_python():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    backbone = load_backbone(network, preprocessing=Preprocessing(8, 8), name="mine")
    assert (backbone.name, backbone.weights, backbone.dim) == ("mine", "as built", 4)
    assert network.training
    assert backbone.module is not network
    with pytest.raises(ModelError, match="Sequential: it has no preprocessing; .*in Python: preprocessing="):
        load_backbone(network)
    network.preprocessing = {"resize_px": 8, "crop_px": 8}
    assert load_backbone(network).name == "Sequential"
    assert not load_backbone(network, weights="random").module[0].bias.any()
    assert network[0].bias.any()
