"""Training, validation and test images: drawn, or as the files say."""

from dataclasses import replace

import numpy as np
import pytest

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import split_of, split_per_class
from fewshot_bn.errors import DataError


@pytest.fixture
def dataset(image_folder):
    return open_dataset(str(image_folder))


def test_a_drawn_split_takes_a_fifth_of_each_class_for_testing_and_for_validation(dataset):
    split = split_of(dataset, 0)
    assert not split.official
    rows = np.concatenate([split.train, split.val, split.test])
    assert sorted(rows.tolist()) == list(range(29))
    for part in (split.val, split.test):
        assert np.bincount(dataset.labels[part]).tolist() == [2, 2, 2]
    again, other = split_of(dataset, 0), split_of(dataset, 1)
    assert again.test.tolist() == split.test.tolist() != other.test.tolist()


def test_validation_images_are_taken_from_the_training_images_where_the_files_have_none(dataset):
    splits = np.where(np.arange(29) % 3 == 0, 2, 0)
    split = split_of(replace(dataset, splits=splits), 0)
    assert split.official
    assert split.test.tolist() == np.flatnonzero(splits == 2).tolist()
    assert set(split.val) | set(split.train) == set(np.flatnonzero(splits == 0))
    assert np.bincount(dataset.labels[split.val]).tolist() == [2, 1, 1]


def test_official_splits_are_taken_as_they_are(dataset):
    splits = np.arange(29) % 3
    split = split_of(replace(dataset, splits=splits), 7)
    for part, rows in enumerate((split.train, split.val, split.test)):
        assert rows.tolist() == np.flatnonzero(splits == part).tolist()


def test_a_class_that_is_too_small_is_named(dataset):
    few = replace(dataset, labels=np.array([0] * 27 + [1] * 2), class_names=("many", "few"))
    with pytest.raises(DataError, match="shapes: class 'few' has 1 training images left, too few .* at least 3 images"):
        split_of(few, 0)
    official = replace(few, splits=np.array([0] * 28 + [2]))
    with pytest.raises(DataError, match="'few' has 1 training images .* at least 2 training images .* or a folder val"):
        split_of(official, 0)


def test_official_splits_need_test_images(dataset):
    with pytest.raises(DataError, match="has training and validation images, but no test images"):
        split_of(replace(dataset, splits=np.arange(29) % 2), 0)


def test_every_class_needs_training_images(dataset):
    splits = np.where(dataset.labels == 2, 2, np.arange(29) % 3)
    with pytest.raises(DataError, match="shapes: class 'd e' has no training images, so they could not be told"):
        split_of(replace(dataset, splits=splits), 0)


def test_images_of_no_official_split_take_no_part(dataset):
    splits = np.tile([0, 2, -1], 10)[:29]
    split = split_of(replace(dataset, splits=splits), 0)
    assert set(split.train) | set(split.val) == set(np.flatnonzero(splits == 0))
    assert split.test.tolist() == np.flatnonzero(splits == 2).tolist()


@pytest.mark.parametrize(("n", "n_val"), [(2, 1), (5, 1), (7, 1)])
def test_so_many_of_each_class_are_for_training_and_validation_and_all_others_for_testing(dataset, n, n_val):
    split, again, other = (split_per_class(dataset, seed, n) for seed in (0, 0, 1))
    rows = np.concatenate([split.train, split.val, split.test])
    assert sorted(rows.tolist()) == list(range(29))
    assert np.bincount(dataset.labels[split.train]).tolist() == [n - n_val] * 3
    assert np.bincount(dataset.labels[split.val]).tolist() == [n_val] * 3
    assert again.train.tolist() == split.train.tolist() != other.train.tolist()
    assert (split.official, split.origin) == (False, f"{n} of each class drawn with seed 0")


def test_a_class_without_an_image_to_test_is_named(dataset):
    with pytest.raises(DataError, match="shapes: class 'd e' has 8 images, too few for 8 to train on and one to test"):
        split_per_class(dataset, 0, 8)
