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

from fewshot_bn.backbones.checkpoints import read_checkpoint
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


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Kind.A, "Kind"),
        (np.sin, "numpy.sin|numpy.*sin"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (bytearray(b"abc"), "builtins.bytearray"),
    ],
)
@pytest.mark.parametrize("how", ["zip", "stream", "pickle"])
def test_everything_else_is_named_and_not_run(tmp_path, value, name, how):
    path = tmp_path / "all.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"x": value}))
    else:
        torch.save({"x": value}, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(ModelError, match=f"({name}).*nothing was run.*convert it once in Python"):
        read_checkpoint(path)


def test_how_a_whole_network_and_a_dictionary_with_more_are_converted(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(ModelError, match=r"`torch.save\(x.state_dict\(\), 'weights.pth'\)`, or x\[\"model\"\]"):
        read_checkpoint(tmp_path / "network.pth")
    torch.save({"state_dict": {}, "kind": Kind.A}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match=r'in x\["state_dict"\].items\(\) if torch.is_tensor'):
        read_checkpoint(tmp_path / "more.pth")


def test_a_plain_pickle_is_called_so(tmp_path):
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(ModelError, match="a plain pickle and no file of torch.save"):
        read_checkpoint(tmp_path / "all.pkl")


def test_nested_tensors_are_refused_by_name(tmp_path):
    with pytest.warns(UserWarning, match="nested"):
        torch.save({"w": torch.nested.nested_tensor([WEIGHTS, WEIGHTS])}, tmp_path / "n.pth")
    with pytest.raises(ModelError, match="_rebuild_nested_tensor"):
        read_checkpoint(tmp_path / "n.pth")


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
    ],
)
def test_files_of_another_kind_are_recognised(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "w.pth")


def test_zip_archives_that_are_no_checkpoints(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    with pytest.raises(ModelError, match=r"no file of torch.save, but a zip archive of w\.npy"):
        read_checkpoint(tmp_path / "w.npz")


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
