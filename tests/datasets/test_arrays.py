"""Arrays in HDF5 and NPZ files: what comes out is what was put in, and nothing else is let in."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewshot_bn.datasets import array_file as module
from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError
from fewshot_bn.preprocessing import Preprocessing, pixels_of

N, SIDE = 6, 8
Y = np.array([0, 2, 1, 0, 1, 2])
ORDER = [0, 3, 2, 4, 1, 5]  # by class, then by place
AS_IT_IS = Preprocessing(SIDE, SIDE)


def save(path: Path, **arrays) -> str:
    path.unlink(missing_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                text = array.dtype.kind == "U"
                file[name] = np.char.encode(array, "utf-8") if text else array
    return str(path)


@pytest.fixture
def x(rng):
    return rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(params=["npz", "h5", "hdf5"])
def stored(request, tmp_path):
    """Writes arrays to a file; returns its path as text."""
    return lambda **arrays: save(tmp_path / f"mine.{request.param}", **arrays)


def pixels(dataset):
    return np.stack([pixels_of(dataset.read(row), AS_IT_IS) for row in range(len(dataset))])


def test_pixels_come_back_bit_for_bit_in_canonical_order(stored, x):
    path = stored(images=x, labels=Y)
    dataset = open_dataset(path)
    assert (dataset.name, dataset.class_names) == ("mine", ("0", "1", "2"))
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.ids == tuple(f"{k:07d}" for k in ORDER)
    assert (dataset.groups, dataset.splits, dataset.notices, dataset.problems) == (None, None, (), ())
    assert dataset.in_memory == path.endswith("npz")
    np.testing.assert_array_equal(pixels(dataset), x[ORDER])


SHAPES = {
    "n h w": lambda x: (x[..., 0], x[..., [0, 0, 0]]),
    "n h w 1": lambda x: (x[..., :1], x[..., [0, 0, 0]]),
    "n 1 h w": lambda x: (x[:, None, :, :, 0], x[..., [0, 0, 0]]),
    "n 3 h w": lambda x: (x.transpose(0, 3, 1, 2), x),
    "n h w 4": lambda x: (np.concatenate([x, x[..., :1]], 3), x),
    "not in C order": lambda x: (np.asfortranarray(x), x),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_every_shape(stored, x, shape):
    images, expected = SHAPES[shape](x)
    np.testing.assert_array_equal(pixels(open_dataset(stored(images=images, labels=Y))), expected[ORDER])


def test_images_that_are_not_square(stored, rng):
    images = rng.integers(0, 256, (N, 3, 5, 9), dtype=np.uint8)
    dataset = open_dataset(stored(images=images, labels=Y))
    head, _, body = dataset.read(0).partition(b"\n")
    assert head == b"P6 9 5 255"
    assert body == images[0].transpose(1, 2, 0).tobytes()


@pytest.mark.parametrize("images", ["x", "X", "data"])
@pytest.mark.parametrize("labels", ["y", "Y", "targets"])
def test_other_names_of_the_arrays(stored, x, images, labels):
    assert open_dataset(stored(**{images: x, labels: Y[:, None], "more": Y})).class_sizes == [2, 2, 2]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, ">i4"])
def test_labels_may_be_any_whole_numbers(stored, x, kind):
    top = 100 if kind == np.uint8 else 2**15 - 1
    assert open_dataset(stored(images=x, labels=np.where(Y == 2, top, Y).astype(kind))).class_names == (
        "0",
        "1",
        str(top),
    )


def test_labels_may_be_names(stored, x):
    names = np.array(["b", "Äpfel", "a b"])
    dataset = open_dataset(stored(images=x, labels=names[Y]))
    assert dataset.class_names == ("a b", "b", "Äpfel")
    np.testing.assert_array_equal(pixels(dataset), x[[1, 5, 0, 3, 2, 4]])


def test_labels_of_hdf5_may_be_strings_of_any_length(tmp_path, x):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = x
        file.create_dataset("labels", (N,), h5py.string_dtype())[:] = [b"a", b"\xff", b"\xfe", b"a", b"\xff", b"a"]
    assert open_dataset(str(tmp_path / "mine.h5")).class_names == (r"\xfe", r"\xff", "a")


def test_class_names_and_groups(stored, x):
    names, groups = np.array(["cat", "dog", "cow", "ant"]), np.array([7, 7, 8, 8, 9, 9])
    dataset = open_dataset(stored(images=x, labels=Y, class_names=names, groups=groups))
    assert dataset.class_names == ("cat", "dog", "cow")
    assert dataset.groups == ("7", "8", "8", "9", "7", "9")
    dataset = open_dataset(stored(images=x, labels=Y, groups=np.array(["p", "q"])[Y % 2][:, None]))
    assert dataset.groups == ("p", "p", "q", "q", "p", "p")


def test_splits_in_the_form_of_medmnist(stored, x):
    parts = {"train": [0, 1, 2], "val": [3], "test": [4, 5]}
    found = {}
    for split, rows in parts.items():
        found |= {f"{split}_images": x[rows], f"{split}_labels": Y[rows][:, None].astype(np.uint8)}
    dataset = open_dataset(stored(**found))
    assert dataset.ids == (
        *("train/0000000", "val/0000000"),
        *("train/0000002", "test/0000000"),
        *("train/0000001", "test/0000001"),
    )
    assert dataset.splits.tolist() == [0, 1, 0, 2, 0, 2]
    np.testing.assert_array_equal(pixels(dataset), x[ORDER])


def test_the_fingerprint_tells_what_was_found(stored, x):
    path = stored(images=x, labels=Y)
    before = open_dataset(path)
    os.utime(path, (1, 1))
    touched = open_dataset(path)
    assert (touched.fingerprint, touched.stamp != before.stamp) == (before.fingerprint, True)
    other = open_dataset(stored(images=255 - x, labels=Y))  # a file of the same size
    assert other.fingerprint != before.fingerprint


# What is refused

TYPE_NEEDED = r"uint8 of shape \[n h w\], \[n h w 1\|3\|4\] or \[n 1\|3 h w\] is needed: "
NEEDED = f"{TYPE_NEEDED}scale and convert it"
REFUSED = {
    "float images": (
        lambda x: {"images": x / 255, "labels": Y},
        rf"images is of type float64 and shape \[6, 8, 8, 3\]; {TYPE_NEEDED}its values run from 0 to 1, so",
    ),
    "wide images": (
        lambda x: {"images": x.astype(int), "labels": Y},
        f"images is of type int64.*{TYPE_NEEDED}its values run",
    ),
    "two channels": (lambda x: {"images": x[..., :2], "labels": Y}, rf"shape \[6, 8, 8, 2\]; {NEEDED}"),
    "flat images": (lambda x: {"images": x.reshape(N, -1), "labels": Y}, rf"shape \[6, 192\]; {NEEDED}"),
    "one number": (
        lambda x: {"images": np.uint8(3), "labels": Y},
        rf"images is of type uint8 and shape \[\]; {NEEDED}",
    ),
    "no images": (lambda x: {"images": x[:0], "labels": Y[:0]}, rf"shape \[0, 8, 8, 3\]; {NEEDED}"),
    "nothing": (lambda x: {}, "has no array images or x or X or data; it holds nothing"),
    "images missing": (lambda x: {"labels": Y}, "has no array images or x or X or data; it holds 'labels'"),
    "labels missing": (lambda x: {"images": x}, "has no array labels or y or Y or targets; it holds 'images'"),
    "labels of a split missing": (
        lambda x: {"train_images": x, "train_labels": Y, "test_images": x},
        "has no array test_labels or test_y",
    ),
    "strange names": (
        lambda x: {"a\nb": Y} | {f"c{k}": Y for k in range(99)},
        r"it holds 'a\\nb', 'c0', .* and 88 more",
    ),
    "several labels": (
        lambda x: {"images": x, "labels": np.eye(3, dtype=int)[Y]},
        r"labels is of type int64 and shape \[6, 3\]; whole numbers or names of shape \[6\] are needed",
    ),
    "too few labels": (
        lambda x: {"images": x, "labels": Y[:5]},
        r"labels is of type int64 and shape \[5\]; .* \[6\] are",
    ),
    "one label": (lambda x: {"images": x, "labels": np.array(1)}, r"labels is of type int64 and shape \[\]"),
    "float labels": (lambda x: {"images": x, "labels": Y / 1}, "labels is of type float64"),
    "yes and no": (lambda x: {"images": x, "labels": Y > 0}, "labels is of type bool"),
    "one class": (lambda x: {"images": x, "labels": 0 * Y}, "1 classes found, at least 2 are needed"),
    "too few names": (
        lambda x: {"images": x, "labels": Y, "class_names": np.array(["a", "b"])},
        "has 2 class_names, but labels from 0 to 2",
    ),
    "labels below 0": (
        lambda x: {"images": x, "labels": Y * 3 - 2, "class_names": np.array(["a", "b", "c"])},
        "has 3 class_names, but labels from -2 to ",
    ),
    "labels that are not known": (
        lambda x: {"images": x, "labels": Y - 1},
        "[0-9]+ of labels are -1, which stands for images without a label; leave these images out",
    ),
    "names of names": (
        lambda x: {"images": x, "labels": np.array(["p", "q"])[Y % 2], "class_names": np.array(["a", "b"])},
        "has 2 class_names, but labels from p to q",
    ),
    "a name twice": (
        lambda x: {"images": x, "labels": Y, "class_names": np.array(["a", "b", "a"])},
        "class_names holds the same name twice",
    ),
    "one name": (
        lambda x: {"images": x, "labels": Y, "class_names": np.array(3)},
        r"class_names is of type int64 and shape \[\]; whole numbers or names of shape \[3\] are needed",
    ),
    "too few groups": (
        lambda x: {"images": x, "labels": Y, "groups": Y[:5]},
        r"groups is of type int64 and shape \[5\]",
    ),
    "groups of some": (
        lambda x: {"train_x": x, "train_y": Y, "train_groups": Y, "test_x": x, "test_y": Y},
        "there are no groups of test_x, but of others; give all or none",
    ),
}


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_other_arrays_are_refused_in_one_clear_line(tmp_path, x, kind, arrays, message):
    with pytest.raises(DataError, match=rf"mine\.{kind}: .*{message}") as caught:
        open_dataset(save(tmp_path / f"mine.{kind}", **arrays(x)))
    assert len(str(caught.value).splitlines()) == 1


def unpickled(trace: Path) -> np.ndarray:
    """An array of an object that leaves a file behind when it is unpickled."""

    class Marked:
        def __reduce__(self):
            return (Path.touch, (trace,))

    return np.array([Marked()] * N, object)


@pytest.mark.parametrize("key", ["images", "labels", "groups", "class_names"])
def test_pickled_objects_are_refused_and_not_unpickled(tmp_path, x, key):
    path = save(tmp_path / "mine.npz", **({"images": x, "labels": Y} | {key: unpickled(tmp_path / "trace")}))
    with pytest.raises(
        DataError, match="mine.npz: .*it holds pickled objects of Python, which could run code; write plain"
    ):
        open_dataset(path)
    assert not (tmp_path / "trace").exists()
    np.load(path, allow_pickle=True)[key]
    assert (tmp_path / "trace").exists()  # so it would have been seen


def test_arrays_that_are_not_needed_are_not_read(tmp_path, x):
    path = save(tmp_path / "mine.npz", images=x, labels=Y, notes=unpickled(tmp_path / "trace"))
    assert len(open_dataset(path)) == N
    assert not (tmp_path / "trace").exists()


def test_a_large_npz_is_refused_before_it_is_read(tmp_path, x, monkeypatch):
    path = save(tmp_path / "mine.npz", images=x, labels=Y, notes=np.zeros(10**6))
    monkeypatch.setattr(module, "MOST_BYTES_OF_NPZ", x.nbytes + Y.nbytes + 1000)
    assert len(open_dataset(path)) == N
    monkeypatch.setattr(module, "MOST_BYTES_OF_NPZ", x.nbytes)
    monkeypatch.delattr(np, "load")
    with pytest.raises(DataError, match="mine.npz: holds 0.0 GiB, which would have to be in memory; write it as HDF5"):
        open_dataset(path)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


FORM = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
HOSTILE = {
    "no array": (b"hello", "has no array images"),
    "more than there is": (npy(FORM.format("|u1", "(10, 8, 8, 3)"), b"abc"), "cannot be read"),
    "more than any memory": (
        npy(FORM.format("|u1", "(10000000000000, 8, 8, 3)")),
        "cannot be read: Unable to allocate",
    ),
    "more than any number": (npy(FORM.format("|u1", "(10000000000000000000000, 8)")), "cannot be read"),
    "less than nothing": (npy(FORM.format("|u1", "(-1, 8, 8, 3)")), "cannot be read"),
    "no type": (npy(FORM.format("zork", "(1,)")), "cannot be read: descr is not a valid dtype"),
    "no header": (npy("{'descr': ((((("), "cannot be read"),
    "a header without end": (npy(" " * 20_000), "cannot be read: Header info length"),
}


@pytest.mark.parametrize(("member", "message"), HOSTILE.values(), ids=HOSTILE)
def test_an_npz_that_lies(tmp_path, member, message):
    labels = io.BytesIO()
    np.save(labels, Y)
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images.npy", member)
        archive.writestr("labels.npy", labels.getvalue())
    with pytest.raises(DataError, match=f"mine.npz: .*{message}") as caught:
        open_dataset(str(tmp_path / "mine.npz"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_npz_is_one_clear_line_or_read(tmp_path, x, rng, compressed):
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=x, labels=Y)
    whole, messages = path.read_bytes(), []
    for _ in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged if rng.integers(3) else damaged[: rng.integers(len(whole))])
        try:
            assert pixels(open_dataset(str(path))).shape == (N, SIDE, SIDE, 3)
        except DataError as problem:
            messages.append(str(problem))
    assert len(messages) > 50
    assert all(len(message.splitlines()) == 1 for message in messages)


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(100)])
@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_another_file_under_this_name(tmp_path, kind, content):
    path = tmp_path / f"mine.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"mine.{kind}: this file of arrays cannot be read: ") as caught:
        open_dataset(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_an_hdf5_file_that_breaks_off(tmp_path, x):
    path = Path(save(tmp_path / "mine.h5", images=x, labels=Y))
    whole = path.read_bytes()
    for n_bytes in range(1, len(whole), 97):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(DataError, match="mine.h5: this file of arrays cannot be read"):
            open_dataset(str(path))


HDF5 = {
    "a group": (lambda file: file.create_group("labels"), "has no array labels .*; it holds 'images'"),
    "a link to nothing": (lambda file: file.update(labels=h5py.SoftLink("/nothing")), "labels is a link to '/nothing'"),
    "a link in a circle": (
        lambda file: file.update(labels=h5py.SoftLink("/labels")),
        "labels is a link to '/labels', which is not followed",
    ),
    "a link to another file": (
        lambda file: file.update(labels=h5py.ExternalLink("no.h5", "/x")),
        "labels is a link to '/x', which is not followed, as it leads out of the file",
    ),
    "an empty array": (lambda file: file.update(labels=h5py.Empty("i8")), "has no array labels"),
    "far too many": (
        lambda file: file.create_dataset("labels", (10**12,), "i8", chunks=(10,)),
        r"shape \[1000000000000\]",
    ),
    "lists": (
        lambda file: file.create_dataset("labels", (N,), h5py.vlen_dtype(int)),
        "labels is of type object and shape",
    ),
    "references": (
        lambda file: file.create_dataset("labels", (N,), h5py.ref_dtype),
        "labels is of type object and shape",
    ),
}


@pytest.mark.parametrize(("add", "message"), HDF5.values(), ids=HDF5)
def test_other_things_in_an_hdf5_file(tmp_path, x, add, message):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = x
        add(file)
    with pytest.raises(DataError, match=f"mine.h5: .*{message}"):
        open_dataset(str(tmp_path / "mine.h5"))


def elsewhere(file, how):
    """Labels that lie in another file, which is there."""
    folder = Path(file.filename).parent
    (folder / "labels.bin").write_bytes(Y.astype("<i8").tobytes())
    with h5py.File(folder / "other.h5", "w") as other:
        other["labels"] = Y
    if how == "external storage":
        file.create_dataset("labels", (N,), "<i8", external=[(str(folder / "labels.bin"), 0, 8 * N)])
    elif how == "a virtual array":
        layout = h5py.VirtualLayout((N,), "<i8")
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "labels", (N,))
        file.create_virtual_dataset("labels", layout)
    elif how == "an external link":
        file["labels"] = h5py.ExternalLink("other.h5", "/labels")
    elif how == "a link to a link":
        file["there"] = h5py.ExternalLink("other.h5", "/")
        file["labels"] = h5py.SoftLink("/there/labels")
    else:
        file["train"] = h5py.ExternalLink("other.h5", "/")


@pytest.mark.parametrize(
    ("how", "message"),
    {
        "external storage": "labels lies in other files",
        "a virtual array": "labels lies in other files",
        "an external link": "labels is a link to '/labels', which is not followed",
        "a link to a link": "labels is a link to '/there/labels', which is not followed",
        "a group elsewhere": "train is a link to '/', which is not followed",
    }.items(),
)
def test_arrays_in_other_files_are_not_read(tmp_path, x, how, message):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = x
        elsewhere(file, how)
    with pytest.raises(DataError, match=f"mine.h5: {message}"):
        open_dataset(str(tmp_path / "mine.h5"))


def test_links_within_the_file_are_followed(tmp_path, x):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["deep/x"], file["deep/y"] = x, Y
        file["images"], file["labels"] = h5py.SoftLink("/deep/x"), h5py.SoftLink("deep/y")
    np.testing.assert_array_equal(pixels(open_dataset(str(tmp_path / "mine.h5"))), x[ORDER])


@pytest.mark.parametrize(
    ("shape", "written", "message"),
    [
        ((20, 30_000, 30_000, 3), False, "images has the shape .*, but nothing was written to it"),
        ((20, 30_000, 30_000, 3), True, "at most 20,000,000 images, of 178,956,970 pixels, are read"),
        ((30_000_000, 2, 2), True, "at most 20,000,000 images"),
    ],
)
def test_claimed_sizes_take_no_memory(tmp_path, shape, written, message):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        images = file.create_dataset("images", shape, np.uint8, chunks=tuple(min(side, 8) for side in shape))
        if written:
            images[0, 0, 0] = 1
        file["labels"] = np.arange(20) % 2
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "mine.h5"))


# Arrays in groups, and of other names


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "valid")])
def test_groups_of_hdf5_that_are_called_like_splits(tmp_path, x, names):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for k, name in enumerate(names):
            file[f"{name}/images"], file[f"{name}/labels"] = x[k::2], Y[k::2]
    dataset = open_dataset(str(tmp_path / "mine.h5"))
    assert dataset.ids[0] == f"{names[0].lower()}/0000000"
    assert sorted(dataset.splits.tolist()) == [0, 0, 0, 1, 1, 1]
    even_then_odd = np.concatenate([x[::2], x[1::2]])
    order = np.argsort(np.concatenate([Y[::2], Y[1::2]]), kind="stable")
    np.testing.assert_array_equal(pixels(dataset), even_then_odd[order])


def test_the_only_group_of_hdf5_is_looked_into(tmp_path, x):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["digits/images"], file["digits/labels"], file["version"] = x, Y, 3
    np.testing.assert_array_equal(pixels(open_dataset(str(tmp_path / "mine.h5"))), x[ORDER])


def test_groups_that_hold_something_else_are_named(tmp_path, x):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["cats/a"], file["dogs/a"] = x, x
    with pytest.raises(DataError, match=r"has no array images .*; it holds 'cats' \(a group\), 'dogs' \(a group\)"):
        open_dataset(str(tmp_path / "mine.h5"))


@pytest.mark.parametrize(
    "names", [("x_train", "y_train", "x_test", "y_test"), ("X_train", "y_train", "X_val", "y_val")]
)
def test_splits_may_be_named_last(stored, x, names):
    dataset = open_dataset(stored(**dict(zip(names, (x[:3], Y[:3], x[3:], Y[3:]), strict=True))))
    assert sorted(dataset.splits.tolist()) == [0, 0, 0, *[2 if "test" in names[2] else 1] * 3]
    np.testing.assert_array_equal(pixels(dataset), x[ORDER])


def test_splits_of_other_names_are_not_passed_over(stored, x):
    arrays = {"train_images": x, "train_labels": Y, "valid_images": x, "valid_labels": Y}
    assert open_dataset(stored(**arrays)).class_sizes == [4, 4, 4]


def test_axes_of_length_1_count_for_nothing(stored, x):
    path = stored(images=x[:, None, :, :, :, None], labels=Y[:, None, None, None])
    np.testing.assert_array_equal(pixels(open_dataset(path)), x[ORDER])


def test_labels_may_lie_in_a_file_beside_the_images(tmp_path, x):
    path = save(tmp_path / "split_train_x.h5", x=x)
    with pytest.raises(DataError, match="split_train_x.h5: has no array labels"):
        open_dataset(path)
    save(tmp_path / "split_train_y.h5", y=Y[:, None, None, None])
    np.testing.assert_array_equal(pixels(open_dataset(path)), x[ORDER])


# How a file is held


def test_rows_of_hdf5_are_read_when_they_are_needed(tmp_path, rng):
    n = 2_000
    with h5py.File(tmp_path / "mine.h5", "w") as file:  # 600 MB, of which almost nothing is on the disk
        images = file.create_dataset("images", (n, 320, 320, 3), np.uint8, chunks=(1, 320, 320, 3))
        images[7] = 7
        file["labels"] = np.arange(n) % 2
    dataset = open_dataset(str(tmp_path / "mine.h5"))
    assert isinstance(dataset.read.file.arrays["images"], h5py.Dataset)
    assert set(dataset.read(dataset.ids.index("0000007")).partition(b"\n")[2]) == {7}
    assert len(pickle.dumps(dataset.read)) < 50 * n


READ = "import pickle, sys; read = pickle.load(open(sys.argv[1], 'rb')); sys.stdout.buffer.write(read(3))"


def test_another_process_reads_the_same(stored, x, tmp_path, monkeypatch):
    path = stored(images=x, labels=Y)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset(Path(path).name if Path(path).suffix != ".npz" else path)
    (tmp_path / "reader").write_bytes(pickle.dumps(dataset.read))
    found = subprocess.run([sys.executable, "-c", READ, tmp_path / "reader"], cwd="/", capture_output=True, check=True)
    assert found.stdout == dataset.read(3)


def test_another_process_does_not_read_another_file(stored, x):
    path = stored(images=x, labels=Y)
    dataset = open_dataset(path)
    pickled = pickle.dumps(dataset.read)
    stored(images=255 - x, labels=Y)
    with pytest.raises(DataError, match="was changed after it had been opened; run this again"):
        pickle.loads(pickled)(0)
    Path(path).unlink()
    with pytest.raises(DataError, match="mine.* cannot be read: .*No such file"):
        pickle.loads(pickled)(0)


def test_a_file_that_was_replaced_is_read_anew_and_the_open_one_as_it_was(stored, x):
    path = stored(images=x, labels=Y)
    before = open_dataset(path)
    stored(images=255 - x, labels=Y)
    after, once_more = open_dataset(path), open_dataset(path)
    np.testing.assert_array_equal(pixels(before), x[ORDER])
    np.testing.assert_array_equal(pixels(after), 255 - x[ORDER])
    np.testing.assert_array_equal(pixels(once_more), pixels(after))
    assert before.stamp != after.stamp


def test_a_file_is_closed_with_its_dataset(tmp_path, x):
    path = save(tmp_path / "mine.h5", images=x, labels=Y)
    dataset = open_dataset(path)
    with pytest.raises(OSError, match="already open"):
        h5py.File(path, "w")
    del dataset
    h5py.File(path, "w").close()


def test_a_row_that_is_damaged_is_an_error_of_that_row(tmp_path, rng):
    n, path = 64, tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (n, 8, 8), np.uint8, chunks=(1, 8, 8), fletcher32=True)
        images[:] = rng.integers(0, 256, (n, 8, 8))
        file["labels"] = np.arange(n) // 32
        place = images.id.get_chunk_info_by_coord((33, 0, 0)).byte_offset
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)
    dataset = open_dataset(str(path))
    assert dataset.ids[33] == "0000033"
    with pytest.raises(OSError, match="read data"):
        dataset.read(33)
    assert dataset.read(34)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: x, r"from 0 to 1, so \(images \* 255\).round\(\).astype\('uint8'\) if 1 is white"),
        (lambda x: x * 255, r"from 0 to 255, so images.round\(\).astype\('uint8'\)"),
        (lambda x: (x * 255).astype(np.int64), r"from 0 to 255, so images.astype\('uint8'\)"),
        (lambda x: (x * 4000).astype(np.uint16), r"from 0 to 4000, so \(images \* \(255 / 4095\)\).round.* if 4095 is"),
        (lambda x: x * 65535, r"from 0 to 65535, so \(images \* \(255 / 65535\)\)"),
        (lambda x: x - 0.5, "from -0.5 to 0.5, so they may be normalised: undo that"),
        (lambda x: x > 0.5, r"images.astype\('uint8'\) \* 255"),
        (lambda x: x * np.nan, "from nan to nan, so it is not clear which is white"),
        (lambda x: (x > 0.5).astype(int), "from 0 to 1, so it is not clear which is white"),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_arrays_of_other_types_are_told_their_conversion(tmp_path, make, said, suffix):
    images, labels = make(np.linspace(0, 1, 8 * 16).reshape(8, 4, 4)), np.arange(8) % 2
    path = tmp_path / f"x.{suffix}"
    if suffix == "npz":
        np.savez(path, images=images, labels=labels)
    else:
        with h5py.File(path, "w") as file:
            file["images"], file["labels"] = images, labels
    with pytest.raises(DataError, match=f"uint8 of shape .* is needed: .*{said}"):
        open_dataset(str(path))


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_file_that_another_program_has_open_for_writing_is_told_so(tmp_path, is_shared):
    path = tmp_path / "x.h5"
    code = (
        "import h5py, subprocess, sys\n"
        f"file = h5py.File({str(path)!r}, 'w', libver='latest'); file['images'] = [[[0]]] * 4\n"
        f"file.flush()\n"
        f"if {is_shared}: file.swmr_mode = True\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DataError, match="another program has it open for writing; close it there"):
            open_dataset(str(path))
        other.communicate()


def test_texts_whose_reading_would_not_end_are_damaged(tmp_path, x, monkeypatch):
    monkeypatch.setattr("fewshot_bn.datasets.hdf5.PATIENCE_S", 0.3)  # enough to see that it is waited for no longer
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = x, np.array(["cat", "dog", "emu"], object)[Y]
    content = path.read_bytes()
    place = content.index(b"GCOL") + 16  # the first text; without a size, the HDF5 library never gets beyond it
    path.write_bytes(content[:place] + bytes(16) + content[place + 16 :])
    with pytest.raises(DataError, match=r"mine\.h5: .*cannot be read: /y: these texts are damaged: reading .* not end"):
        open_dataset(str(path))


def test_a_link_of_which_nothing_can_be_told_is_not_followed(tmp_path, x, monkeypatch):
    path = save(tmp_path / "mine.h5", x=x, y=Y)
    monkeypatch.setattr(h5py.Group, "get", lambda group, name, getlink: None)  # as of a damaged one
    with pytest.raises(DataError, match=r"mine\.h5: x is a link to '\?', which is not followed"):
        open_dataset(path)
