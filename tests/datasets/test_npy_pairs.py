"""Pairs of .npy files in the layouts of CIFAR-10.1 and CIFAR-10-C, and others."""

import pickle

import numpy as np
import pytest

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError
from fewshot_bn.preprocessing import Preprocessing, pixels_of

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def x(rng):
    return rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)


def pixels(dataset):
    return np.stack([pixels_of(dataset.read(row), Preprocessing(32, 32)) for row in range(len(dataset))])


def test_cifar_10_1_is_read_as_published(tmp_path, x):
    """cifar10.1_v6_data.npy beside cifar10.1_v6_labels.npy, int32."""
    y = np.array([3, 9, 0, 3, 5, 1, 2, 4, 6, 7, 8, 8] * 4 + [1, 1], np.int32)
    np.save(tmp_path / "cifar10.1_v6_data.npy", x)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", y)
    np.save(tmp_path / "labels.npy", y[:3])  # of something else
    dataset = open_dataset(str(tmp_path / "cifar10.1_v6_data.npy"))
    assert dataset.class_names == CIFAR10
    order = np.argsort(y, kind="stable")
    assert dataset.labels.tolist() == y[order].tolist()
    np.testing.assert_array_equal(pixels(dataset), x[order])
    assert (dataset.groups, dataset.splits, dataset.in_memory) == (None, None, False)
    again = pickle.loads(pickle.dumps(dataset.read))
    assert len(pickle.dumps(dataset.read)) < 10_000
    assert again(7) == dataset.read(7)


@pytest.mark.parametrize(("folder", "n_classes"), [("CIFAR-10-C", 10), ("CIFAR-100-C", 100)])
def test_a_corruption_has_severities_as_groups(tmp_path, x, folder, n_classes):
    """CIFAR-10-C/fog.npy, five severities one after the other, beside labels.npy."""
    x, y = np.repeat(x, n_classes // 10, 0), np.tile(np.arange(n_classes, dtype=np.uint8), 5)
    (tmp_path / folder).mkdir()
    np.save(tmp_path / folder / "fog.npy", x)
    np.save(tmp_path / folder / "labels.npy", y)
    dataset = open_dataset(str(tmp_path / folder / "fog.npy"))
    assert dataset.name == "fog"
    tens = ("apple", "bowl", "chair", "dolphin", "lamp", "mouse", "plain", "rose", "squirrel", "train")
    assert dataset.class_names[:: n_classes // 10] == {10: CIFAR10, 100: tens}[n_classes]
    place = np.array([int(image) for image in dataset.ids])
    assert dataset.groups == tuple(f"severity {k // n_classes + 1}" for k in place)
    np.testing.assert_array_equal(pixels(dataset), x[place])


def test_names_of_classes_come_from_a_file_beside_it(tmp_path, x):
    np.save(tmp_path / "images.npy", x[:4])
    np.save(tmp_path / "labels.npy", np.array([1, 0, 1, 2]))
    assert open_dataset(str(tmp_path / "images.npy")).class_names == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    assert open_dataset(str(tmp_path / "images.npy")).class_names == ("ant", "bee", "cow")


def test_numbers_that_are_not_those_of_cifar_stay_numbers(tmp_path, x):
    for name, labels in {"cifar10_data": [1, 10], "cifar10_x": [0, 1], "cifar-10s": range(10)}.items():
        np.save(tmp_path / f"{name}.npy", x[: len(labels)])
        np.save(tmp_path / "labels.npy", np.array(labels))
        assert open_dataset(str(tmp_path / f"{name}.npy")).class_names == tuple(map(str, labels))


FAULTS = {
    "no labels": (None, r"x_data.npy: is one array, and there are no labels beside it: x_labels.npy or labels.npy"),
    "too few labels": (
        np.arange(3),
        r"labels is of type int64 and shape \[3\]; whole numbers or names of shape \[50\]",
    ),
    "one class": (np.zeros(50, np.int64), "1 classes found, at least 2 are needed"),
    "objects": (np.array([{}] * 50), "this file of arrays cannot be read"),
    "fractions": (np.linspace(0, 1, 50), "labels is of type float64"),
}


@pytest.mark.parametrize(("labels", "message"), FAULTS.values(), ids=FAULTS)
def test_wrong_labels(tmp_path, x, labels, message):
    np.save(tmp_path / "x_data.npy", x)
    if labels is not None:
        np.save(tmp_path / "x_labels.npy", labels)
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "x_data.npy"))


def test_a_file_that_is_cut_off_or_no_image(tmp_path, x):
    np.save(tmp_path / "labels.npy", np.arange(50) % 2)
    np.save(tmp_path / "x.npy", x)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:5000])
    with pytest.raises(DataError, match="this file of arrays cannot be read: mmap length is greater"):
        open_dataset(str(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", x / 255)
    with pytest.raises(DataError, match=r"images is of type float64.*\(images \* 255\)"):
        open_dataset(str(tmp_path / "x.npy"))


def test_a_folder_of_them_is_advised_on(tmp_path, x):
    np.save(tmp_path / "labels.npy", np.arange(50) % 2)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(DataError, match=r"holds files \*.npy; such a file is one array; name the one with images"):
        open_dataset(str(tmp_path))
