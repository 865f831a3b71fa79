import errno
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.preprocessing import Preprocessing

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(8, 8)


@pytest.fixture
def images(image_folder):
    return Images(open_dataset(str(image_folder)), PREPROCESSING)


def features_of(images, backbone, cache, rows=range(29)):
    features = Features(images, backbone, device=CPU, cache=cache)
    n_computed = sum(features.compute(np.array(list(rows))))
    return features, n_computed


def parts(cache):
    return sorted(cache.rglob("*.h5"))


def test_features_equal_the_plain_forward_pass(images, backbone):
    features, _ = features_of(images, backbone, None)
    rows = np.array([[3, 28], [0, 3]])
    z = features.gather(rows)
    assert z.shape == (2, 2, 6)
    for row, found in zip(rows.ravel(), z.flatten(0, 1), strict=True):
        expected = backbone.features(normalise(images.gather(np.array([row])), PREPROCESSING, CPU))[0]
        torch.testing.assert_close(found, expected)


def test_rows_that_are_not_known_or_do_not_exist_cannot_be_read(images, backbone):
    features, _ = features_of(images, backbone, None, rows=[3, 4])
    with pytest.raises(DataError, match=r"the features of 2 images, such as 'a, b/0.png' \(row 0\), have"):
        features.gather(np.array([[3, 0], [4, 28]]))
    for row in (-1, 29):
        with pytest.raises(DataError, match=rf"there is no row {row}; rows are 0 to 28"):
            features.gather(np.array([3, row]))
        with pytest.raises(DataError, match=rf"there is no row {row}"):
            list(features.compute(np.array([row])))
        with pytest.raises(DataError, match=rf"there is no row {row}"):
            images.gather(np.array([row]))


def test_features_do_not_depend_on_what_a_row_is_batched_with(images, backbone):
    together, _ = features_of(images, backbone, None)
    alone, _ = features_of(images, backbone, None, rows=[17])
    assert torch.equal(alone.gather(np.array([17])), together.gather(np.array([17])))


def test_a_row_is_computed_once_in_all_runs(images, backbone, own_cache):
    assert features_of(images, backbone, own_cache, rows=[4, 9, 4])[1] == 2
    features, n_computed = features_of(images, backbone, own_cache)
    assert n_computed == 27
    again, n_computed = features_of(images, backbone, own_cache)
    assert n_computed == 0
    assert torch.equal(again.gather(np.arange(29)), features.gather(np.arange(29)))


def test_the_cache_is_keyed_by_everything_that_changes_features(images, backbone, own_cache, image_folder):
    features_of(images, backbone, own_cache)
    other_weights = replace(backbone, fingerprint="other")
    other_size = Images(images.dataset, Preprocessing(10, 8))
    (image_folder / "c" / "0.png").touch()
    written_again = Images(open_dataset(str(image_folder)), PREPROCESSING)
    for changed in [(images, other_weights), (other_size, backbone), (written_again, backbone)]:
        assert features_of(*changed, own_cache)[1] == 29


def test_two_runs_at_once_leave_whole_parts(images, backbone, own_cache):
    first = Features(images, backbone, device=CPU, cache=own_cache)
    second = Features(images, backbone, device=CPU, cache=own_cache)
    assert len(first.missing(np.arange(29))) == len(second.missing(np.arange(29))) == 29
    for one in (first, second):
        assert sum(one.compute(np.arange(29))) == 29
    assert len(parts(own_cache)) == 2
    third, n_computed = features_of(images, backbone, own_cache)
    assert n_computed == 0
    assert torch.equal(third.gather(np.arange(29)), first.gather(np.arange(29)))


def test_half_made_parts_are_never_read(images, backbone, own_cache):
    features_of(images, backbone, own_cache)
    (part,) = parts(own_cache)
    part.rename(part.with_suffix(".tmp"))
    assert features_of(images, backbone, own_cache)[1] == 29


@pytest.mark.parametrize("damage", ["truncated", "other shape", "not finite", "other rows"])
def test_a_damaged_part_is_named(images, backbone, own_cache, damage):
    features_of(images, backbone, own_cache)
    (part,) = parts(own_cache)
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:900])
    else:
        with h5py.File(part, "a") as file:
            if damage == "not finite":
                file["z"][3, 1] = np.nan
            elif damage == "other rows":
                file["rows"][:] = file["rows"][:][::-1]
            else:
                del file["z"]
                file["z"] = np.zeros((29, 5), np.float32)
    with pytest.raises(DataError, match=f"{part.name}: this part of the feature cache is damaged .* delete it"):
        features_of(images, backbone, own_cache)


def test_a_full_disk_costs_only_the_cache(images, backbone, own_cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    features, n_computed = features_of(images, backbone, own_cache)
    assert n_computed == 29
    assert features.gather(np.arange(29)).isfinite().all()
    assert "features are not kept for later runs" in features.notices[0]
    assert "No space left" in features.notices[0]
    assert not list(own_cache.rglob("*.tmp"))


def test_features_that_are_not_finite_name_their_image(images, backbone):
    backbone.module.bn3.bias[0] = float("inf")
    with pytest.raises(DataError, match=r"the features of image 'a, b/0.png' \(row 0\) under small are not finite"):
        features_of(images, backbone, None)
