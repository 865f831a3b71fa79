import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.backbones.export import FORMATS, export
from fewshot_bn.backbones.libraries.torchvision import build_headless
from fewshot_bn.backbones.networks import NETWORKS
from fewshot_bn.backbones.padding import pad_same
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.preprocessing import Preprocessing


@pytest.fixture
def network():
    return lived_in("resnet18")


def lived_in(name):
    """With statistics that are not those of a new network."""
    network, _ = build_headless(name, {})
    generator = torch.Generator().manual_seed(0)
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + (0.9 if key.endswith("var") else -0.1))
    with torch.no_grad():
        assert network.eval()(images()).std() > 0.01  # comparisons of features say something
    return network


def images(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.full)])
def test_torchvision_loads_its_form_but_for_the_head(tmp_path, network, suffix):
    lines = export(network, "resnet18", "torchvision", tmp_path / f"w{suffix}")
    theirs = models.resnet18()
    found = theirs.load_state_dict(read_checkpoint(tmp_path / f"w{suffix}"), strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    theirs.fc = nn.Identity()
    assert torch.equal(theirs.eval()(images()), network(images()))
    assert "torchvision.models.resnet18()" in lines[1]
    assert len(lines) == 2


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timm_loads_its_form(tmp_path, name):
    timm = pytest.importorskip("timm")
    network = lived_in(name)
    export(network, f"torchvision:{name}", "timm", tmp_path / "w.safetensors")
    theirs = timm.create_model(name, num_classes=0)
    theirs.load_state_dict(read_checkpoint(tmp_path / "w.safetensors"))
    assert torch.equal(theirs.eval()(images()), network(images()))


@pytest.mark.full
@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnext50_32x4d", "densenet121"])
def test_other_networks_that_timm_names_alike(tmp_path, name):
    test_timm_loads_its_form(tmp_path, name)


class Normed(nn.Conv2d):
    """A convolution with its norm layer inside, as detectron2 has them."""

    def __init__(self, n_in, n_out, kernel, stride=1):
        super().__init__(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x):
        return self.norm(super().forward(x))


class Block(nn.Module):
    """A bottleneck with its stride in the 3x3 convolution, or a basic block, by detectron2's names."""

    def __init__(self, n_in, n_out, width, stride):
        super().__init__()
        kernels = [1, 3, 1] if n_out > width else [3, 3]
        widths = [n_in, *[width] * (len(kernels) - 1), n_out]
        for place, kernel in enumerate(kernels):
            moves = place == (1 if len(kernels) == 3 else 0)
            conv = Normed(widths[place], widths[place + 1], kernel, stride if moves else 1)
            self.add_module(f"conv{place + 1}", conv)
        self.n = len(kernels)
        if n_in != n_out or stride > 1:
            self.shortcut = Normed(n_in, n_out, 1, stride)

    def forward(self, x):
        z = x
        for place in range(self.n):
            z = getattr(self, f"conv{place + 1}")(z)
            z = z.relu() if place < self.n - 1 else z
        return (z + (self.shortcut(x) if hasattr(self, "shortcut") else x)).relu()


class ResNetOfDetectron2(nn.Module):
    def __init__(self, counts, expansion):
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = Normed(3, 64, 7, 2)
        n_in = 64
        for stage, count in enumerate(counts):
            width = 64 * 2**stage
            blocks = []
            for place in range(count):
                blocks.append(Block(n_in, width * expansion, width, 2 if stage and not place else 1))
                n_in = width * expansion
            self.add_module(f"res{stage + 2}", nn.Sequential(*blocks))

    def forward(self, x):
        x = F.max_pool2d(self.stem.conv1(x).relu(), 3, 2, 1)
        return self.res5(self.res4(self.res3(self.res2(x)))).mean((2, 3))


@pytest.mark.parametrize(
    ("name", "counts", "expansion", "depth"),
    [("resnet18", (2, 2, 2, 2), 1, 18), pytest.param("resnet50", (3, 4, 6, 3), 4, 50, marks=pytest.mark.full)],
)
def test_detectron2_reads_its_form(tmp_path, name, counts, expansion, depth):
    network = lived_in(name)
    lines = export(network, name, "detectron2", tmp_path / "w.pkl", preprocessing=Preprocessing())
    content = pickle.loads((tmp_path / "w.pkl").read_bytes(), encoding="latin1")
    assert list(content) == ["model", "__author__", "matching_heuristics"]
    assert content["matching_heuristics"] is True
    assert {type(value) for value in content["model"].values()} == {np.ndarray}
    floats = {key: value for key, value in content["model"].items() if not key.endswith("num_batches_tracked")}
    assert {value.dtype for value in floats.values()} == {np.dtype("float32")}
    theirs = ResNetOfDetectron2(counts, expansion)
    theirs.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in content["model"].items()})
    torch.testing.assert_close(theirs.eval()(images()), network(images()))
    assert lines[1:] == [
        "INPUT.FORMAT: RGB",
        "MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]",
        "MODEL.PIXEL_STD: [58.395, 57.12, 57.375]",
        f"MODEL.RESNETS.DEPTH: {depth}",
        "MODEL.RESNETS.STRIDE_IN_1X1: False",
        "MODEL.RESNETS.NUM_GROUPS: 1",
        "MODEL.RESNETS.WIDTH_PER_GROUP: 64",
        *["MODEL.RESNETS.RES2_OUT_CHANNELS: 64"] * (depth == 18),
    ]


def test_the_pickle_for_detectron2_is_of_any_numpy_and_can_be_read_back(tmp_path, network):
    export(network, "resnet18", "detectron2", tmp_path / "w.pkl")
    content = (tmp_path / "w.pkl").read_bytes()
    assert b"numpy._core" not in content
    assert b"numpy.core.multiarray" in content
    found = read_checkpoint(tmp_path / "w.pkl")["model"]
    assert len(found) == len(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(found.values(), network.state_dict().values(), strict=True))


def converted(key):
    """What the documented converter does to a name, step by step."""
    name = key if "layer" in key else f"stem.{key}"
    for stage in range(1, 5):
        name = name.replace(f"layer{stage}", f"res{stage + 1}")
    for place in range(1, 4):
        name = name.replace(f"bn{place}", f"conv{place}.norm")
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


@pytest.mark.full
def test_names_and_their_order_are_those_of_the_documented_converter(tmp_path):
    network, _ = build_headless("resnet50", {})
    export(network, "resnet50", "detectron2", tmp_path / "w.pkl")
    found = read_checkpoint(tmp_path / "w.pkl")["model"]
    assert list(found) == [converted(key) for key in network.state_dict()]
    assert next(iter(found)) == "stem.conv1.weight"
    assert "res5.0.shortcut.norm.running_var" in found


@pytest.mark.parametrize("form", FORMATS)
def test_networks_that_a_format_does_not_have(tmp_path, form):
    with pytest.raises(ModelError, match=f"conv4: {form} has no network of these layers .* those of torchvision"):
        export(NETWORKS["conv4"](), "conv4", form, tmp_path / "w.pkl")
    assert list(tmp_path.iterdir()) == []


def test_networks_of_torchvision_that_the_others_do_not_have(tmp_path):
    network, _ = build_headless("mobilenet_v3_small", {})
    with pytest.raises(ModelError, match="timm gives the layers of this network other names; export it as torchvision"):
        export(network, "mobilenet_v3_small", "timm", tmp_path / "w.pth")
    with pytest.raises(ModelError, match="detectron2 has backbones of this kind for ResNets only"):
        export(network, "mobilenet_v3_small", "detectron2", tmp_path / "w.pkl")


def test_files_are_never_overwritten_and_told_by_their_ending(tmp_path, network):
    (tmp_path / "w.pth").write_text("kept")
    with pytest.raises(ModelError, match=r"w.pth: is there already and is not overwritten"):
        export(network, "resnet18", "torchvision", tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_text() == "kept"
    with pytest.raises(ModelError, match=r"name the file .safetensors or .pth"):
        export(network, "resnet18", "timm", tmp_path / "w.bin")
    with pytest.raises(ModelError, match=r"name it .pkl"):
        export(network, "resnet18", "detectron2", tmp_path / "w.pt")
    with pytest.raises(ModelError, match="cannot be written: File exists"):
        export(network, "resnet18", "torchvision", tmp_path / "w.pth" / "v.pth")
    with pytest.raises(UsageError, match=re.escape("unknown format 'detectron' (did you mean 'detectron2'?)")):
        export(network, "resnet18", "detectron", tmp_path / "v.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_what_no_weights_say_is_told(tmp_path, network):
    pad_same(network)
    lines = export(network, "byol", "torchvision", tmp_path / "w.pth")
    assert "note: with these weights torchvision's resnet18 gives other features" in lines[-1]
    lines = export(network, "byol", "detectron2", tmp_path / "w.pkl")
    assert "note: with these weights detectron2's resnet18 gives other features" in lines[-1]
    assert "MODEL.PIXEL_MEAN: 255 times" in lines[2]
