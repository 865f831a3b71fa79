"""Files of arrays: NPZ and HDF5."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from fuzz.mutations import damaged
from fuzz.trial import survive, tiers
from numpy.lib import format as npy

from fewshot_bn.datasets import open_dataset
from fewshot_bn.raster import decoded, unreadable

SHAPES = [
    (12, 6, 6),
    (12, 6, 6, 3),
    (12, 3, 6, 6),
    (12,),
    (),
    (0, 6, 6),
    (12, 6),
    (2**40, 6, 6),
    (12, 2**31, 1),
    (-1, 6, 6),
]
KINDS = ["|u1", "<f4", "<i8", "|O", "<U4", "|S4", "|b1", "<c8", "<M8[s]", "|V3", ">u2", "<U99999"]


def arrays():
    rng = np.random.default_rng(np.random.Philox(7))
    labels = np.repeat(np.arange(3), 4)
    return {
        "train_images": rng.integers(0, 256, (12, 6, 6, 3), np.uint8),
        "train_labels": labels,
        "val_images": rng.integers(0, 256, (12, 6, 6), np.uint8),
        "val_labels": labels[:, None],
        "class_names": np.array(["a", "b", "c"]),
    }


def npz(rng=None):
    """With `rng`, the header of one array says something else than what follows."""
    memory, chosen = io.BytesIO(), int(rng.integers(5)) if rng else -1
    with zipfile.ZipFile(memory, "w") as archive:
        for place, (name, array) in enumerate(arrays().items()):
            part = io.BytesIO()
            if place == chosen:
                shape, kind = SHAPES[rng.integers(len(SHAPES))], KINDS[rng.integers(len(KINDS))]
                header = {
                    "descr": kind if rng.random() < 0.5 else npy.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                }
                npy.write_array_header_1_0(part, {**header, "shape": shape if rng.random() < 0.7 else array.shape})
                part.write(array.tobytes())
            else:
                np.save(part, array)
            archive.writestr(f"{name}.npy", part.getvalue())
    return memory.getvalue()


def hdf5(rng=None):
    """With `rng`, one array is of another shape or type."""
    memory, chosen = io.BytesIO(), int(rng.integers(5)) if rng else -1
    with h5py.File(memory, "w") as file:
        for place, (name, array) in enumerate(arrays().items()):
            values = array.astype("S") if array.dtype.kind == "U" else array
            if place == chosen:
                kind = KINDS[rng.integers(len(KINDS))]
                dtype = h5py.string_dtype() if kind[1] in "OUMV" else np.dtype(kind)
                shape = SHAPES[rng.integers(len(SHAPES))]
                file.create_dataset(name, tuple(abs(side) for side in shape), dtype, maxshape=None)
            else:
                file.create_dataset(name, data=values, chunks=True if rng and rng.random() < 0.5 else None)
    return memory.getvalue()


def check(path):
    """What holds of a dataset that can be opened."""
    dataset = open_dataset(str(path))
    assert dataset.labels.min() == 0
    assert len(dataset) == len(dataset.ids) == len(dataset.labels)
    for row in range(len(dataset)):
        try:
            assert min(decoded(dataset.read(row)).image.size) >= 1
        except unreadable():
            pass  # a store names these rows
    return dataset


@pytest.mark.parametrize(("suffix", "make"), [("npz", npz), ("h5", hdf5)])
@tiers(20, 2000)
def test_arrays(tmp_path, suffix, make, numbers):
    path = tmp_path / f"x.{suffix}"
    whole = make()
    path.write_bytes(whole)
    assert check(path).class_sizes == [8, 8, 8]

    def trial(rng):
        path.write_bytes(damaged(rng, whole) if rng.random() < 0.6 else make(rng))
        check(path)

    survive(trial, numbers)


@tiers(1, 100)
def test_texts_of_any_length(tmp_path, monkeypatch, numbers):
    monkeypatch.setattr("fewshot_bn.datasets.hdf5.PATIENCE_S", 2.0)
    path = tmp_path / "x.h5"
    path.write_bytes(hdf5())
    with h5py.File(path, "a") as file:
        del file["class_names"]
        file["class_names"] = np.array(["one", "two", "three"], object)
    whole = path.read_bytes()
    place = whole.index(b"GCOL")  # where texts of any length lie
    assert check(path).class_names == ("one", "two", "three")

    def trial(rng):
        path.write_bytes(whole[:place] + damaged(rng, whole[place : place + 100]) + whole[place + 100 :])
        check(path)

    survive(trial, numbers)
