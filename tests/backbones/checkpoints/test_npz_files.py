"""Weights in files of numpy.savez."""

import io
import zipfile

import numpy as np
import pytest
import torch

from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.errors import ModelError

ARRAYS = {
    "a/b/kernel": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "columns first": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f4"),
    "half": np.arange(3, dtype=np.float16),
    "counter": np.array(7, dtype=np.int64),
    "truth": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, save):
    save(tmp_path / "weights.npz", **ARRAYS)
    found = read_checkpoint(tmp_path / "weights.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert isinstance(found[name], torch.Tensor)
        assert found[name].shape == array.shape
        assert found[name].dtype == torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).dtype
        assert found[name].tolist() == array.tolist()


def npy(array=None, header=None):
    """A file of one array, or what claims to be one by `header`."""
    memory = io.BytesIO()
    if header is None:
        np.save(memory, array, allow_pickle=True)
    else:
        np.lib.format.write_array_header_1_0(memory, header)
        memory.write(b"\0" * 16)
    return memory.getvalue()


def zipped(entries, path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


class Runs:
    def __reduce__(self):
        return print, ("run",)


FLOATS = {"descr": "<f4", "fortran_order": False}
REFUSED = {
    "objects": ([("a.npy", npy(np.array([Runs()], dtype=object)))], r"a.npy not read, because it holds objects"),
    "texts": ([("a.npy", npy(np.array(["abc"])))], r"a.npy holds <U3, numbers are needed"),
    "complex numbers": ([("a.npy", npy(np.array([1j])))], r"a.npy holds complex128, numbers are needed"),
    "records": ([("a.npy", npy(np.zeros(1, [("x", "f4")])))], r"holds \[\('x', '<f4'\)\], numbers are needed"),
    "another version": ([("a.npy", b"\x93NUMPY\x03" + npy(np.ones(2))[7:])], r"version \(3, 0\) of numpy's format"),
    "a claim of 2^40 values": (
        [("a.npy", npy(header={**FLOATS, "shape": (2**40,)}))],
        r"a.npy claims 4,398,046,511,104 bytes and holds 16: damaged; get it again",
    ),
    "fewer values than there are": ([("a.npy", npy(header={**FLOATS, "shape": (2,)}))], "claims 8 bytes and holds 16"),
    "negative sizes": ([("a.npy", npy(header={**FLOATS, "shape": (-2, -2)}))], "negative dimensions"),
    "no array": ([("a.npy", b"abc")], "damaged, incomplete or of another format"),
    "something else": ([("data.txt", b"abc")], r"no file of numpy.savez, but a zip archive of data.txt"),
    "nothing": ([], r"no file of numpy.savez, but a zip archive of nothing"),
}


def test_a_header_of_python_2_is_read_without_a_word(tmp_path):
    zipped(
        [("a.npy", npy(np.arange(4.0)).replace(b"(4,),", b"(4L,),").replace(b" \n", b"\n"))], tmp_path / "weights.npz"
    )
    assert read_checkpoint(tmp_path / "weights.npz")["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, fault, capfd):
    entries, message = REFUSED[fault]
    zipped(entries, tmp_path / "weights.npz")
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "weights.npz")
    assert "run" not in capfd.readouterr().out.split()


def test_what_claims_to_be_much_larger_than_the_file_is_not_unpacked(tmp_path):
    zipped([("a.npy", bytes(10**6))], tmp_path / "weights.npz", zipfile.ZIP_DEFLATED)
    with pytest.raises(
        ModelError, match=r"not read, because 1,\d\d\d bytes claim to be 1,000,000; load it and save it"
    ):
        read_checkpoint(tmp_path / "weights.npz")


def test_a_name_that_stands_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped([("a.npy", npy(np.ones(2))), ("a.npy", npy(np.zeros(2)))], tmp_path / "weights.npz")
    with pytest.raises(ModelError, match=r"holds a.npy twice; save it anew"):
        read_checkpoint(tmp_path / "weights.npz")


@pytest.mark.parametrize("size", [0, 10, 200, -1])
def test_a_part_of_a_file_is_no_file(tmp_path, size):
    path = tmp_path / "weights.npz"
    np.savez(path, **ARRAYS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"weights.npz: these weights cannot be read: the file is damaged, incomplete"):
        read_checkpoint(path)


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.ones(100))
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged, incomplete or of another format \(Bad CRC-32"):
        read_checkpoint(path)
