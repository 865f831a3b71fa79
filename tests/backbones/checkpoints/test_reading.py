import os
import pickle
import tomllib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision import models

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import load_strictly, read_checkpoint
from fewshot_bn.errors import ModelError


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def wrapped(network):
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    return {"epoch": 3, "model": {"state_dict": {**state, "module.fc.weight": torch.zeros(2, 4)}}}


RULES = KeyRules(unwrap="model.state_dict", prefix="module.", drop=("module.fc.*",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_back_as_they_were_saved(network, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    load_strictly(network, tensors_of(read_checkpoint(path), KeyRules(), "here"), (), "here")
    assert all(torch.equal(network.state_dict()[key], state[key]) for key in state)


WRITERS = {
    "torch": torch.save,
    "torch before 1.6": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "safetensors": save_file,
    "numpy": lambda state, path: path.write_bytes(as_npz(state)),
}


def as_npz(state):
    content = BytesIO()
    np.savez(content, **state)
    return content.getvalue()


@pytest.mark.parametrize("ending", ["", ".pth", ".npz", ".safetensors", ".SAFETENSORS"])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_a_file_is_does_not_hang_on_its_name(tmp_path, kind, ending):
    path = tmp_path / f"w{ending}"
    WRITERS[kind]({"w": torch.arange(4.0)}, path)
    assert torch.equal(read_checkpoint(path)["w"], torch.arange(4.0))


def test_wrappers_prefixes_and_heads_are_taken_off_as_the_rules_say(network):
    tensors = tensors_of(wrapped(network), RULES, "here")
    assert tensors.keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (KeyRules(unwrap="state_dict"), "no entry 'state_dict' that holds tensors; its entries are epoch, model"),
        (KeyRules(), "entries that are no tensors: epoch, model"),
        (
            KeyRules(unwrap="model.state_dict", prefix="net.", drop=("module.fc.*",)),
            "keys without the prefix 'net.' .* module.0.weight",
        ),
    ],
)
def test_rules_that_do_not_fit_the_file(network, rules, message):
    with pytest.raises(ModelError, match=message):
        tensors_of(wrapped(network), rules, "here")


def test_keys_that_do_not_fit_are_shown(network):
    tensors = dict(network.state_dict())
    del tensors["0.bias"]
    tensors["head.weight"] = torch.zeros(1)
    tensors["0.weight"] = torch.zeros(5, 3, 3, 3)
    tensors["1.weight"] = torch.full((4,), float("nan"))
    with pytest.raises(ModelError) as caught:
        load_strictly(network, tensors, KeyRules().may_lack, "here")
    assert str(caught.value) == (
        "here: these weights do not fit the network: 1 missing (0.bias); 1 unexpected (head.weight); "
        "1 of another shape (0.weight is (5, 3, 3, 3) instead of (4, 3, 3, 3)); 1 not finite (1.weight)"
    )


def test_counters_may_lack_but_nothing_else(network):
    tensors = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_strictly(network, tensors, KeyRules().may_lack, "here")
    with pytest.raises(ModelError, match=r"1 missing \(1.num_batches_tracked\)"):
        load_strictly(network, tensors, (), "here")


class Evil:
    def __reduce__(self):
        return (open, ("evil-was-here", "w"))


def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, save in (
        ("zip.pth", torch.save),
        ("old.pkl", lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))),
    ):
        save({"a": Evil()}, tmp_path / name)
        with pytest.raises(
            ModelError,
            match=r"asks for \w+\.open, which no weights need and which runs code or opens files \(nothing was run\)",
        ):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_are_no_weights(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(path)
    path.write_bytes(b"\x80 this is not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read|not read"):
        read_checkpoint(path)


def test_a_truncated_checkpoint(tmp_path, network):
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="cannot be read|not read"):
        read_checkpoint(path)


def test_a_file_that_holds_no_dictionary(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="holds a Tensor, a dictionary of tensors is needed"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(4, dtype=torch.int8), r"1 of another kind \(1.weight is torch.int8"),
        (torch.zeros(4, dtype=torch.complex64), r"1 of another kind \(1.weight is torch.complex64"),
        (torch.zeros(4).to_sparse(), r"1 of another kind \(1.weight is torch.float32, torch.sparse_coo"),
    ],
)
def test_tensors_of_another_kind_are_not_cast(network, value, message):
    with pytest.raises(ModelError, match=message):
        load_strictly(network, {**network.state_dict(), "1.weight": value}, (), "here")


def test_a_negative_variance_is_named(network):
    with pytest.raises(ModelError, match=r"1 negative \(1.running_var\)"):
        load_strictly(network, {**network.state_dict(), "1.running_var": -torch.ones(4)}, (), "here")


def test_keys_that_are_no_names(tmp_path):
    torch.save({3: torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="keys that are no names: 3"):
        read_checkpoint(tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="keys that are no names: 3"):
        tensors_of({"a": {3: torch.zeros(1)}}, KeyRules(unwrap="a"), "here")


def children_in_order(network):
    """Only what `nn.Sequential(*network.children())` calls its tensors, as lightly's tutorials build a backbone."""
    return nn.Sequential(*list(network.children())[:-1])


SEQUENTIAL = {"0.": "conv1.", "1.": "bn1.", "4.": "layer1.", "5.": "layer2.", "6.": "layer3.", "7.": "layer4."}


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.full)])
def test_a_backbone_made_of_children_loads_by_rename(name):
    saved, network = models.get_model(name), models.get_model(name)
    network.fc = nn.Identity()
    state = {f"backbone.{k}": v for k, v in children_in_order(saved).state_dict().items()}
    rules = KeyRules(unwrap="state_dict", prefix="backbone.", rename=SEQUENTIAL)
    load_strictly(network, tensors_of({"state_dict": state}, rules, "here"), (), "here")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.eval()(x), children_in_order(saved).eval()(x).flatten(1))


class NamedLikeTransformers(nn.Module):
    """A ResNet of basic blocks whose modules are called as in transformers' `ResNetModel`; small, with its own code."""

    def __init__(self):
        super().__init__()
        self.embedder = nn.Module()
        self.embedder.embedder = convolution(3, 64, 7, stride=2)
        self.encoder = nn.Module()
        self.encoder.stages = nn.ModuleList()
        for stage, width in enumerate((64, 128, 256, 512)):
            before = 64 if stage == 0 else width // 2
            self.encoder.stages.append(nn.Module())
            self.encoder.stages[-1].layers = nn.ModuleList([named_block(before, width), named_block(width, width)])

    def forward(self, x):
        x = F.max_pool2d(run(self.embedder.embedder, x).relu(), 3, 2, 1)
        for stage in self.encoder.stages:
            for block in stage.layers:
                shortcut = run(block.shortcut, x) if hasattr(block, "shortcut") else x
                x = (run(block.layer[1], run(block.layer[0], x).relu()) + shortcut).relu()
        return x.mean((2, 3))


def convolution(n_in, n_out, kernel, stride=1):
    module = nn.Module()
    module.convolution = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
    module.normalization = nn.BatchNorm2d(n_out)
    return module


def named_block(n_in, n_out):
    block = nn.Module()
    if n_in != n_out:
        block.shortcut = convolution(n_in, n_out, 1, stride=2)
    block.layer = nn.ModuleList([convolution(n_in, n_out, 3, stride=n_out // n_in), convolution(n_out, n_out, 3)])
    return block


def run(module, x):
    return module.normalization(module.convolution(x))


def card_in(document):
    """The rename table of transformers' ResNets, as the document shows it."""
    block = next(part for part in document.split("```") if part.startswith("toml") and "embedder.embedder" in part)
    return tomllib.loads(block.removeprefix("toml"))["keys"]


def test_the_documented_card_loads_transformers_resnets():
    keys = card_in((Path(__file__).parents[3] / "docs" / "cards.md").read_text(encoding="utf-8"))
    saved, network = NamedLikeTransformers(), models.resnet18()
    network.fc = nn.Identity()
    state = {f"resnet.{k}": v for k, v in saved.state_dict().items()} | {"classifier.1.weight": torch.zeros(9, 512)}
    rules = KeyRules(prefix=keys["prefix"], drop=tuple(keys["drop"]), rename=keys["rename"])
    load_strictly(network, tensors_of(state, rules, "here"), (), "here")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.eval()(x), saved.eval()(x))


@pytest.mark.parametrize(
    ("rename", "key", "name"),
    [
        ({"1.": "a.", "11.": "b."}, "11.weight", "b.weight"),  # the longest that fits, and whole beginnings only
        ({"1.": "a.", "1.0.": "b."}, "1.0.weight", "b.weight"),
        ({"1.": "2.", "2.": "3."}, "1.weight", "2.weight"),  # once, not in a chain
        ({"a.": ""}, "a.weight", "weight"),
        ({"1.": "a."}, "x.1.weight", "x.1.weight"),
        ({"n.*.b.*.c": "l.*.*.d"}, "n.3.b.12.c.weight", "l.3.12.d.weight"),
    ],
)
def test_how_keys_are_renamed(rename, key, name):
    assert list(tensors_of({key: torch.zeros(1)}, KeyRules(rename=rename), "here")) == [name]


def test_two_keys_that_become_one_are_an_error():
    content = {"a.weight": torch.zeros(1), "b.weight": torch.ones(1)}
    with pytest.raises(ModelError, match="here: rename makes 'b.weight' of two keys, 'a.weight' and 'b.weight'"):
        tensors_of(content, KeyRules(rename={"a.": "b."}), "here")


@pytest.mark.parametrize("rename", [{"": "a."}, {"**.": "b"}, {"a.": "*."}, {"*.": "**."}])
def test_renames_that_cannot_be_meant(rename):
    with pytest.raises(ModelError, match="rename: .* the beginning of a key is needed"):
        KeyRules(rename=rename)


def test_a_tensor_that_claims_a_million_million_values_is_only_of_another_shape(network, tmp_path):
    torch.save({**network.state_dict(), "1.weight": torch.zeros(1).expand(10**12)}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    with pytest.raises(ModelError, match=r"1 of another shape \(1.weight is \(1000000000000,\) instead of \(4,\)\)"):
        load_strictly(network, read_checkpoint(tmp_path / "w.pth"), (), "here")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    os.mkfifo(path)
    with pytest.raises(ModelError, match="cannot be read: it is a pipe or a device, a file is needed"):
        read_checkpoint(path)


def test_weights_in_parts_and_addresses_are_told(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {}}')
    with pytest.raises(ModelError, match="is a list of files that hold the weights in parts; load the parts in Python"):
        read_checkpoint(index)
    with pytest.raises(ModelError, match="is an address; download it, and name the file"):
        read_checkpoint(Path("https://example.org/resnet18.pth"))
    network = nn.Linear(2, 3)
    part = {"weight": network.weight.detach()}
    with pytest.raises(ModelError, match=r"1 missing \(bias\); its name says that it is one of several parts: load"):
        load_strictly(network, part, (), "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"1 missing \(bias\)$"):
        load_strictly(network, part, (), "model.safetensors")
