"""Images that are the same byte for byte, and such on both sides of a split."""

import hashlib
import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewshot_bn.datasets import copies, open_dataset
from fewshot_bn.datasets.copies import END, findings, sets_of_copies
from fewshot_bn.datasets.looks import Scaled
from fewshot_bn.datasets.splits import Split, split_of


def plain(dataset):
    """The sets by reading everything."""
    rows_of = defaultdict(list)
    for row in range(len(dataset)):
        rows_of[hashlib.sha256(dataset.read(row)).digest()].append(row)
    return sorted(tuple(rows) for rows in rows_of.values() if len(rows) > 1)


def fill(folder, rng, n=60):
    """Files of few sizes, some of them the same, some with the same ends alone."""
    end = rng.bytes(END)
    made = []
    for k in range(n):
        kind = rng.integers(4)
        content = rng.bytes(int(rng.integers(1, 4)) * 3000)
        if kind == 1:
            content = rng.bytes(500) + end
        elif kind == 2 and made:
            content = made[rng.integers(len(made))]
        elif kind == 3:
            content = rng.bytes(2)
        made.append(content)
        path = folder / f"class {k % 3}" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_the_copies_among_files_are_those_of_reading_everything(tmp_path, fresh_seed):
    fill(tmp_path, np.random.default_rng(fresh_seed))
    dataset = open_dataset(str(tmp_path))
    assert sets_of_copies(dataset) == plain(dataset)
    scaled = replace(dataset, read=Scaled(dataset.read, 4095))
    assert sets_of_copies(scaled) == plain(dataset)


def test_the_copies_among_arrays_are_those_of_reading_everything(tmp_path, fresh_seed):
    rng = np.random.default_rng(fresh_seed)
    images = rng.integers(0, 2, (40, 2, 2), dtype=np.uint8)  # of which there are 16
    for name, write in (("x.npz", np.savez), ("x.h5", lambda path, **of: h5py_file(path, of))):
        write(tmp_path / name, images=images, labels=np.arange(40) % 4)
        dataset = open_dataset(str(tmp_path / name))
        found = sets_of_copies(dataset)
        assert found == plain(dataset)
        assert len(found) > 5


def h5py_file(path, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def test_few_files_are_read_whole(image_folder, monkeypatch):
    shutil.copy(image_folder / "c" / "0.png", image_folder / "d e" / "0.png")
    read = []
    whole = copies._whole
    monkeypatch.setattr(copies, "_whole", lambda file: read.append(file.name) or whole(file))
    dataset = open_dataset(str(image_folder))
    (rows,) = sets_of_copies(dataset)
    assert [dataset.ids[row] for row in rows] == ["c/0.png", "d e/0.png"]
    assert len(read) == 2


def test_a_file_that_is_gone_is_no_copy(image_folder):
    for name in ("1.png", "2.png"):
        shutil.copy(image_folder / "c" / "0.png", image_folder / "d e" / name)
    dataset = open_dataset(str(image_folder))
    (image_folder / "c" / "0.png").unlink()
    (rows,) = sets_of_copies(dataset)
    assert [dataset.ids[row] for row in rows] == ["d e/1.png", "d e/2.png"]


def test_what_was_found_is_kept_until_a_file_changes(image_folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    shutil.copy(image_folder / "c" / "0.png", image_folder / "d e" / "0.png")
    dataset = open_dataset(str(image_folder))
    found = sets_of_copies(dataset, cache)
    (kept,) = (cache / "copies").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(copies, "_found", None)
        assert sets_of_copies(open_dataset(str(image_folder)), cache) == found != []
    for damage in (b"", b"{", b"[[0]]", b"[[0, 29]]", b"[[-1, 3]]", b"[[0, null]]", b"7"):
        kept.write_bytes(damage)
        assert sets_of_copies(dataset, cache) == found
    shutil.copy(image_folder / "c" / "1.png", image_folder / "d e" / "0.png")
    changed = open_dataset(str(image_folder))
    assert sets_of_copies(changed, cache) == plain(changed) != found


def test_where_nothing_can_be_kept_all_goes_on(image_folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    dataset = open_dataset(str(image_folder))
    assert sets_of_copies(dataset, tmp_path / "file") == []


def test_very_large_arrays_are_left_to_verify(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros((40, 4, 4), np.uint8), labels=np.arange(40) % 4)
    dataset = open_dataset(str(tmp_path / "x.npz"))
    n_bytes = len(dataset.read(0)) * 40
    monkeypatch.setattr(copies, "MOST_BYTES", n_bytes)
    assert sets_of_copies(dataset) == [tuple(range(40))]
    monkeypatch.setattr(copies, "MOST_BYTES", n_bytes - 1)
    assert sets_of_copies(dataset, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def split(train, val, test):
    return Split(np.array(train, np.int64), np.array(val, np.int64), np.array(test, np.int64), official=True)


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        ([(0, 1), (6, 7), (8, 9)], ""),
        ([(0, 6), (1, 2)], "1 of 2 test images are also among the training and validation images, byte for byte: "),
        ([(3, 7)], "1 of 2 test images are also among the training and validation images, byte for byte: "),
        ([(2, 4)], "1 of 3 validation images among the training images, byte for byte: "),
        (
            [(0, 4, 6), (5, 7)],
            "2 of 2 test images are also among the training and validation images, and 1 of 3 validation images among "
            "the training images, byte for byte: ",
        ),
    ],
)
def test_only_what_is_in_two_splits_is_told(image_folder, sets, text):
    dataset = open_dataset(str(image_folder))
    found = findings(dataset, split([0, 1, 2], [3, 4, 5], [6, 7]), sets)
    assert [f"shapes: {text}"] * bool(text) == [str(one)[: len(text) + 8] for one in found]
    assert all(one.is_wrong for one in found)


def test_the_cases_name_images_and_splits(image_folder):
    dataset = open_dataset(str(image_folder))
    names = [Path(name).name for name in dataset.ids]
    (found,) = findings(dataset, split([0, 1], [3], [6, 7]), [(0, 1, 2, 6), (3, 7), (8, 9)])
    assert found.cases == (
        f"a, b/{names[0]} (train) = a, b/{names[6]} (test) and 1 more",
        f"a, b/{names[3]} (val) = a, b/{names[7]} (test)",
    )


def test_links_to_one_file_are_copies(image_folder):
    os.link(image_folder / "c" / "3.png", image_folder / "d e" / "x.png")
    (image_folder / "d e" / "y.png").symlink_to(image_folder / "c" / "3.png")
    dataset = open_dataset(str(image_folder))
    (rows,) = sets_of_copies(dataset)
    assert len(rows) == 3
    assert len(split_of(dataset, 0).train) > 0
