import errno
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError, DeviceError
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


def kept_rows(cache):
    return [row for part in parts(cache) for row in h5py.File(part)["rows"][:].tolist()]


def test_runs_at_once_keep_every_row_once(images, backbone, own_cache):
    runs = [Features(images, backbone, device=CPU, cache=own_cache) for _ in range(4)]
    wanted = [np.arange(29), np.arange(29), np.arange(9, 20), np.arange(20, 29)]
    assert [len(run.missing(rows)) for run, rows in zip(runs, wanted, strict=True)] == [29, 29, 11, 9]
    working = [run.compute(rows) for run, rows in zip(runs, wanted, strict=True)]
    assert [next(one) for one in working] == [29, 29, 11, 9]  # all have computed before anyone writes
    assert [list(one) for one in working] == [[]] * 4
    assert sorted(kept_rows(own_cache)) == list(range(29))
    for run, rows in zip(runs, wanted, strict=True):
        torch.testing.assert_close(run.gather(rows), runs[0].gather(rows), rtol=0, atol=0)


def test_what_another_run_computes_meanwhile_is_not_computed_again(images, backbone, own_cache, monkeypatch):
    monkeypatch.setattr("fewshot_bn.inputs.features.ROWS_PER_PART", 8)
    run = Features(images, backbone, device=CPU, cache=own_cache)
    working = run.compute(np.arange(29))
    assert next(working) == 8
    features_of(images, backbone, own_cache, rows=range(16, 29))
    assert list(working) == [13, 8]  # the last 13 are there, the second 8 are not
    assert sorted(kept_rows(own_cache)) == list(range(29))


def test_half_made_parts_are_never_read(images, backbone, own_cache):
    features_of(images, backbone, own_cache)
    (part,) = parts(own_cache)
    part.rename(part.with_suffix(".tmp"))
    assert features_of(images, backbone, own_cache)[1] == 29


@pytest.mark.parametrize("damage", ["truncated", "empty", "other shape", "not finite", "other rows"])
def test_a_damaged_part_is_named(images, backbone, own_cache, damage):
    features_of(images, backbone, own_cache)
    (part,) = parts(own_cache)
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:900])
    elif damage == "empty":
        part.write_bytes(b"")
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


def test_images_that_do_not_fit_in_memory_say_so(images, backbone, monkeypatch):
    def too_large(self, rows):
        raise np.exceptions.DTypePromotionError if len(rows) == 1 else MemoryError("Unable to allocate 4.47 GiB")

    monkeypatch.setattr(Images, "gather", too_large)
    with pytest.raises(DeviceError, match="cpu: out of memory with 64 images of 8 px at once; take smaller images"):
        features_of(images, backbone, None)
    with pytest.raises(np.exceptions.DTypePromotionError):  # nothing else is taken for that
        features_of(images, backbone, None, rows=[3])


@pytest.mark.parametrize("rows", [range(29), range(3, 20)])
def test_what_is_known_grows_by_blocks(images, backbone, own_cache, monkeypatch, rows):
    expected = features_of(images, backbone, None)[0].gather(np.arange(29))
    monkeypatch.setattr("fewshot_bn.inputs.features.ROWS_PER_BLOCK", 5)
    monkeypatch.setattr("fewshot_bn.inputs.features.ROWS_PER_PART", 8)
    first, _ = features_of(images, backbone, own_cache, rows=rows)
    some = np.array([[rows[-1], rows[0]], [rows[7], rows[-1]]])
    assert torch.equal(first.gather(some), expected[some])
    again, n_computed = features_of(images, backbone, own_cache)
    assert n_computed == 29 - len(rows)
    assert torch.equal(again.gather(np.arange(29)), expected)


@pytest.mark.parametrize(("pixels", "together"), [(16 * 224**2, 32), (8**2 * 5, 5), (1, 1)])
def test_as_many_images_as_memory_holds_go_through_the_network_together(
    images, backbone, monkeypatch, pixels, together
):
    monkeypatch.setattr("fewshot_bn.inputs.features.CPU_PIXELS", pixels)
    sizes, found = [], Features(images, backbone, device=CPU)
    found.check.wanted_images = 0
    hook = backbone.module.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    list(found.compute(np.arange(29)))
    hook.remove()
    assert set(sizes) == {together}
    assert len(sizes) == -(-29 // together)
    z = backbone.features(normalise(images.gather(np.arange(29)), PREPROCESSING, CPU))
    torch.testing.assert_close(found.gather(np.arange(29)), z)


def test_images_of_224_px_go_through_the_network_16_at_a_time_on_a_cpu(image_folder, backbone):
    large = Images(open_dataset(str(image_folder)), Preprocessing(224, 224))
    assert Features(large, backbone, device=CPU).n_together == 16
    assert Features(large, backbone, device=torch.device("cuda")).n_together == 64


def test_released_features_are_read_again(images, backbone, own_cache):
    features, _ = features_of(images, backbone, own_cache)
    z = features.gather(np.arange(29))
    features.release()
    assert not features._blocks
    assert torch.equal(features.gather(np.arange(29)), z)
    assert sum(features.compute(np.arange(29))) == 0


def test_features_without_a_cache_are_not_released(images, backbone):
    features, _ = features_of(images, backbone, None)
    z = features.gather(np.arange(29))
    features.release()
    assert torch.equal(features.gather(np.arange(29)), z)
