"""Which images of a dataset are of the classes of another, by name."""

from dataclasses import replace

import numpy as np
import pytest

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.shared_classes import shared
from fewshot_bn.errors import DataError

STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def dataset(name, class_names, n=2, splits=None):
    labels = np.repeat(np.arange(len(class_names)), n)
    ids = tuple(f"{k:03d}" for k in range(len(labels)))
    splits = None if splits is None else np.array(splits)
    return Dataset(name, tuple(class_names), labels, ids, lambda row: b"", "f", "s", splits=splits)


def test_the_nine_shared_classes_of_stl10():
    stl10, cifar10 = dataset("stl10", STL10), dataset("cifar10", CIFAR10)
    found = shared(stl10, cifar10, only_shared=True)
    assert [STL10[stl10.labels[row]] for row in found.rows] == [k for k in STL10 if k != "monkey" for _ in range(2)]
    names = [CIFAR10[label] for label in found.labels]
    assert names == [k.replace("car", "automobile") for k in STL10 if k != "monkey" for _ in range(2)]
    assert found.notes == (
        "stl10: classes that are called otherwise: car is automobile",
        "stl10: 2 images left out, of classes that cifar10 lacks: monkey (2 images)",
    )


def test_a_class_that_training_lacks_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"stl10: has classes that cifar10, which .* lacks: monkey \(2 images\); leave"):
        shared(dataset("stl10", STL10), dataset("cifar10", CIFAR10), only_shared=False)


def test_classes_that_the_test_set_lacks_are_fine():
    found = shared(dataset("few", ["truck", "cat"]), dataset("cifar10", CIFAR10), only_shared=False)
    assert found.labels.tolist() == [9, 9, 3, 3]
    assert not found.notes


@pytest.mark.parametrize(
    ("name", "training", "expected"),
    [
        ("Alarm_Clock", ["alarm clock", "b"], "alarm clock"),
        ("alarm-clock", ["b", "ALARM__CLOCK"], "ALARM__CLOCK"),
        ("Alarm Clock", ["alarm clock", "Alarm Clock"], "Alarm Clock"),
        ("aeroplane", ["airplane", "b"], "airplane"),
        ("Car", ["automobile", "car"], "car"),
        ("STRASSE", ["straße", "b"], "straße"),
    ],
)
def test_spelling(name, training, expected):
    other = "b" if "b" in training else next(k for k in training if k != expected)
    found = shared(dataset("x", [name, other]), dataset("y", training), only_shared=False)
    assert [training[label] for label in found.labels] == [expected, expected, other, other]


@pytest.mark.parametrize(
    ("names", "training", "message"),
    [
        (["A", "b"], ["a_", "a-", "b"], "x: class 'A' may be 'a_' or 'a-' of y; call it as the one that is meant"),
        (["dog", "Dog", "b"], ["dog", "b"], "x: classes 'dog' and 'Dog' would both be 'dog' of y; merge them"),
        (
            ["c", "d"],
            ["a", "b"],
            "x: shares no class with y, which .*; at least 2 .*: its classes are c, d, those of y a",
        ),
        (["a", "d"], ["a", "b"], "x: shares only the class 'a' with y, .*; call them alike"),
        (["0", "1"], ["a", "b"], "x: shares no class with y.*; numbers need names, such as an array class_names"),
    ],
)
@pytest.mark.parametrize("only_shared", [True, False])
def test_classes_that_do_not_fit(names, training, message, only_shared):
    with pytest.raises(DataError, match=message):
        shared(dataset("x", names), dataset("y", training), only_shared=only_shared)


def test_test_images_count_where_there_are_any():
    y = dataset("y", "ab")
    splits = [0, 2, 2, 1]
    found = shared(dataset("x", "ab", splits=splits), y, only_shared=False)
    assert (found.rows.tolist(), found.labels.tolist()) == ([1, 2], [0, 1])
    assert found.notes == ("x: its 2 test images, of 4",)
    assert shared(dataset("x", "ab", splits=[0, 1, 1, 0]), y, only_shared=False).rows.tolist() == [0, 1, 2, 3]
    assert not shared(dataset("x", "ab", splits=[2] * 4), y, only_shared=False).notes


def test_only_classes_of_test_images_have_to_be_there():
    x = replace(dataset("x", "abc"), splits=np.array([2, 2, 2, 2, 0, 0]))
    assert shared(x, dataset("y", "ab"), only_shared=False).rows.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="x: shares only the class 'a' with y"):
        shared(replace(x, splits=np.array([2, 2, 0, 0, 0, 0])), dataset("y", "ab"), only_shared=True)
