"""Datasets of the user's own: from a list of files, and from a Python file."""

import numpy as np
import pytest
from reference.commands import results, run

from fewshot_bn.datasets import dataset_of_files, open_dataset
from fewshot_bn.errors import DataError, UsageError

CODE = """
from dataclasses import replace
from pathlib import Path
from fewshot_bn import dataset_of_files

def given():
    return dataset_of_files("mine", [(path, path.parent.name) for path in Path("shapes").glob("*/*.png")])

"""


def listed(folder):
    return [(path, path.parent.name) for path in folder.glob("*/*.png")]


def test_a_list_of_files_is_the_dataset_of_its_folder(image_folder):
    found, expected = dataset_of_files("shapes", listed(image_folder)[::-1]), open_dataset(str(image_folder))
    assert (found.ids, found.class_names) == (expected.ids, expected.class_names)
    assert found.labels.tolist() == expected.labels.tolist()
    assert (found.fingerprint, found.stamp) == (expected.fingerprint, expected.stamp)
    assert found.read(0) == expected.read(0)


def test_files_with_their_classes_may_be_a_dictionary(image_folder):
    images = listed(image_folder)
    assert dataset_of_files("shapes", dict(images)).fingerprint == dataset_of_files("shapes", images).fingerprint


def test_groups_of_other_files_are_an_error(image_folder):
    images = listed(image_folder)
    with pytest.raises(DataError, match="shapes: groups name .*, and no image; use the same paths for both"):
        dataset_of_files("shapes", images, groups={path.name: "a" for path, _ in images})


def test_groups_are_those_of_the_files(image_folder):
    images = listed(image_folder)
    found = dataset_of_files("shapes", images, groups={path: path.stem for path, _ in images})
    assert found.groups == tuple(image_id.rpartition("/")[2].removesuffix(".png") for image_id in found.ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: [*images, ("none.png", "c")], "mine: .*none.png: not there; 30 images are listed"),
        (lambda images: [], "mine: no image: not there"),
        (lambda images: [path for path, _ in images], "mine: an image is .*png'.*; a pair of file and class is needed"),
        (lambda images: [(*image, "train") for image in images], "'train'.; a pair of file and class is needed"),
        (lambda images: [*images, images[0]], "mine: .*: listed more than once"),
        (lambda images: [(path, "one") for path, _ in images], "1 classes found"),
    ],
)
def test_wrong_lists(image_folder, change, message):
    with pytest.raises(DataError, match=message):
        dataset_of_files("mine", change(listed(image_folder)))


def test_the_command_takes_a_function_of_a_file(here):
    (here / "mine.py").write_text(CODE)
    assert run("--mode", "proto") == 0
    assert run("--mode", "proto", "--dataset", "mine.py:given", "--output", "own") == 0
    expected, found = results(here / "results"), results(here / "own")
    assert found["proto", 2].correct == expected["proto", 2].correct
    assert found["proto", 2].key["dataset"]["name"] == "mine"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("def load(): return 3", DataError, "mine.py:load: is a int; a fewshot_bn.Dataset"),
        ("def load(): raise OSError('away')", DataError, r"mine.py:load: fails: OSError: away \(line \d+\)"),
        ("load = 3", DataError, "mine.py:load: is a int"),
        ("", UsageError, "mine.py: unknown name 'load'"),
        ("def load(): return replace(given(), ids=('a',) * 29)", DataError, "has the same id twice"),
        ("def load(): return replace(given(), ids=given().ids[::-1])", DataError, "are not sorted by label"),
        ("def load(): return replace(given(), labels=given().labels + 1)", DataError, "labels 0..classes-1"),
        ("def load(): return replace(given(), groups=('a',))", DataError, "has 29 ids and 1 groups"),
        ("def load(): return replace(given(), read=lambda row: b'no')", DataError, "cannot be read: it is no image"),
    ],
)
def test_what_is_no_sound_dataset_is_refused(here, code, error, message):
    (here / "mine.py").write_text(CODE + code)
    with pytest.raises(error, match=message):
        open_dataset("mine.py:load")


@pytest.mark.parametrize("label", [None, float("nan"), "", " ", True, 1.0], ids=repr)
def test_an_image_without_a_class_is_said(image_folder, label):
    images = listed(image_folder)
    with pytest.raises(DataError, match="shapes: .*: its class is .*; a name or a whole number is needed"):
        dataset_of_files("shapes", [(images[0][0], label), *images[1:]])


def test_classes_may_be_numbers(image_folder):
    images = [(path, np.int64(len(label))) for path, label in listed(image_folder)]
    assert dataset_of_files("shapes", images).class_names == ("1", "3", "4")
