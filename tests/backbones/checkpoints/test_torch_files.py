import argparse
import collections
import datetime as dt
import enum
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints import torch_files
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.errors import ModelError

WEIGHTS = torch.arange(4.0)
COMPANIONS = {
    "args": argparse.Namespace(arch="resnet18", output=pathlib.Path("a/b"), kind=int),
    "scalars": [np.float64(71.3), np.int64(3), np.bool_(True), np.datetime64("2020-01-01")],
    "arrays": [np.arange(4.0), np.array(["a"]), np.array([None, 1]), np.asfortranarray(np.ones((3, 2)))],
    "random state": np.random.Generator(np.random.PCG64(0)).bit_generator.state,
    "dtypes": [np.dtype("f4"), torch.float16, torch.device("cuda:0"), torch.Size([2])],
    "containers": [{1}, frozenset([1]), collections.deque([1]), collections.Counter("aab"), range(3), slice(1)],
    "times": [dt.datetime(2020, 1, 1), dt.timedelta(1)],
    "others": [pathlib.PurePosixPath("a"), torch.__version__, b"abc", 1j, None],
    "parameter": torch.nn.Parameter(WEIGHTS),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("companion", COMPANIONS)
def test_harmless_companions_of_weights_do_not_stop_the_reading(tmp_path, companion, zipped):
    path = tmp_path / "all.pth"
    content = collections.defaultdict(list, {"w": WEIGHTS, "x": COMPANIONS[companion]})
    before = set(torch.serialization.get_safe_globals())
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_checkpoint(path)["w"], WEIGHTS)
    assert set(torch.serialization.get_safe_globals()) == before


class Kind(enum.Enum):
    A = 1


class Averaged:
    def __init__(self, network):
        self.module, self.decay = network, 0.999


def small_network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 2))


def write(content, path, how):
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    return path


@pytest.mark.parametrize("how", ["zip", "stream", "pickle"])
def test_training_checkpoints_hold_more_than_tensors(tmp_path, how):
    network = small_network()
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    content = {
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3),
        "kind": Kind.A,
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a/b"), fn=np.sin),
        "best": np.float64(71.5),
        "history": [np.arange(3.0), collections.deque([1, 2])],
    }
    found = read_checkpoint(write(content, tmp_path / "all.pth", how))
    assert list(found["state_dict"]) == list(state)
    assert all(torch.equal(found["state_dict"][key], value) for key, value in state.items())
    moments = optimizer.state_dict()["state"]
    assert all(torch.equal(found["optimizer"]["state"][n]["exp_avg"], moments[n]["exp_avg"]) for n in moments)
    assert found["kind"] == {"0": 1}
    assert found["args"] == {"lr": 0.1, "out": {"0": "a", "1": "b"}, "fn": found["args"]["fn"]}
    assert "sin" in str(found["args"]["fn"])
    assert found["best"] == 71.5
    assert torch.equal(found["history"][0], torch.arange(3.0).double())
    assert found["history"][1] == [1, 2]


DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"]


@pytest.mark.parametrize("how", ["zip", "stream"])
def test_the_machine_reads_tensors_as_torch_does(tmp_path, how, monkeypatch):
    base = torch.arange(24.0).reshape(2, 3, 4)
    content = {name: base.to(getattr(torch, name)) for name in DTYPES}
    content |= {"turned": base.permute(2, 0, 1), "part": base[1, 1:, ::2], "none": base[:0], "one": torch.tensor(3.0)}
    content |= {"expanded": base[:, :1].expand(2, 5, 4), "parameter": torch.nn.Parameter(base), "nested": {"a": [base]}}
    path = write(content, tmp_path / "w.pth", how)
    by_torch = read_checkpoint(path)
    monkeypatch.setattr(torch_files, "_only_tensors", lambda names: False)
    found = read_checkpoint(path)
    assert list(found) == list(by_torch)
    assert torch.equal(found["nested"]["a"][0], base)
    for name in set(content) - {"nested"}:
        assert found[name].dtype == by_torch[name].dtype
        assert torch.equal(found[name], by_torch[name])
        assert found[name].stride() == by_torch[name].stride() or name == "none"


@pytest.mark.parametrize("how", ["zip", "stream", "pickle"])
def test_whole_networks_become_their_state_dict(tmp_path, how):
    network = small_network()
    network.register_buffer("cache", torch.ones(3), persistent=False)
    network.alias = network[0]
    state = network.state_dict()
    whole = read_checkpoint(write(network, tmp_path / "whole.pth", how))
    entry = read_checkpoint(write({"ema": Averaged(network)}, tmp_path / "entry.pth", how))["ema"]
    assert entry["decay"] == 0.999
    for found in (whole, entry["module"]):
        assert list(found) == list(state)
        assert all(torch.equal(found[key], value) for key, value in state.items())


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.scale = small_network(), torch.nn.Parameter(torch.ones(2))
        self.temperature = 0.07

    def forward(self, x):
        return self.encoder(x) * self.scale * self.temperature


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of making the file
@pytest.mark.parametrize("half", [False, True])
def test_torchscript_is_read_without_its_code(tmp_path, half):
    network = Twin().half() if half else Twin()
    torch.jit.save(torch.jit.script(network), tmp_path / "w.pt")
    stripped = tmp_path / "stripped.pt"
    with zipfile.ZipFile(tmp_path / "w.pt") as saved, zipfile.ZipFile(stripped, "w") as made:
        for record in saved.infolist():
            if "/code/" not in record.filename:
                made.writestr(record.filename, saved.read(record))
    for path in (tmp_path / "w.pt", stripped):
        found = read_checkpoint(path)
        assert found.keys() == network.state_dict().keys()
        assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())


def test_nested_tensors_are_no_tensors(tmp_path):
    with pytest.warns(UserWarning, match="nested"):
        torch.save({"w": torch.nested.nested_tensor([WEIGHTS, WEIGHTS])}, tmp_path / "n.pth")
    found = read_checkpoint(tmp_path / "n.pth")
    assert isinstance(found["w"], dict)
    with pytest.raises(ModelError, match="entries that are no tensors: w"):
        tensors_of(found, KeyRules(), "here")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_not_taken_for_a_dangerous_one(tmp_path, zipped, kept):
    path = tmp_path / "w.pth"
    torch.save({"w": WEIGHTS}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ModelError, match="cannot be read: the file is damaged, incomplete .* get it again") as caught:
        read_checkpoint(path)
    assert "run code" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08", "a compressed file; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "HDF5 .* numpy.savez"),
        (b"\x93NUMPY\x01\x00", "one array of numpy"),
        (b"\x89PNG\r\n\x1a\n", "it is an image"),
        (b"x.json" + bytes(251) + b"ustar", "a tar archive; unpack it"),
        (b'{"a": 1}', "it is text"),
        (b"a,b\n1,2\n", "it is text"),
    ],
)
def test_files_of_another_kind_are_recognised(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "w.pth")


def test_zip_archives_that_are_no_checkpoints(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w.txt", "no weights")
    with pytest.raises(ModelError, match=r"no file of torch.save, but a zip archive of w\.txt"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_compressed_archive_is_refused_before_it_takes_memory(tmp_path):
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "w.pth")
    small = tmp_path / "small.pth"
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as saved,
        zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for record in saved.infolist():
            made.writestr(record.filename, saved.read(record))
    with pytest.raises(ModelError, match="it is compressed: .* bytes claim to be 4,000,"):
        read_checkpoint(small)


def test_safetensors_that_claim_more_than_they_hold(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": WEIGHTS}, path)
    path.write_bytes(path.read_bytes().replace(b'"shape":[4]', b'"shape":[9]'))
    with pytest.raises(ModelError, match="cannot be read: the file is damaged"):
        read_checkpoint(path)
