import numpy as np
import pytest
import torch
from torchvision import transforms

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, pixels_of


def test_normalisation_equals_torchvision(rng):
    preprocessing = Preprocessing(16, 16)
    pixels = torch.from_numpy(rng.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8))
    theirs = transforms.Normalize(preprocessing.mean, preprocessing.std)(pixels / 255)
    torch.testing.assert_close(normalise(pixels, preprocessing, torch.device("cpu")), theirs)


def test_rows_are_gathered_in_order_and_decoded_once(image_folder):
    dataset = open_dataset(str(image_folder))
    reads = []
    counted = Images(dataset_with(dataset, lambda row: reads.append(row) or dataset.read(row)), Preprocessing(8, 8))
    rows = np.array([5, 2, 5, 20])
    first, second = counted.gather(rows), counted.gather(rows)
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[2])
    np.testing.assert_array_equal(first[1].permute(1, 2, 0).numpy(), pixels_of(dataset.read(2), Preprocessing(8, 8)))
    assert set(reads) == {2, 5, 20}
    assert len(reads) <= 4  # two threads may meet at row 5, later calls read nothing


@pytest.fixture
def stored(image_folder, tmp_path):
    """A store that holds the first 20 of 29 rows."""
    dataset, geometry = open_dataset(str(image_folder)), Preprocessing(10, 8)
    images = Images(dataset, geometry, store=Store(dataset, geometry, tmp_path / "stores"))
    assert sum(images.fill(np.arange(20))) == 20
    return images


def test_rows_of_the_store_and_others_are_gathered_together(stored):
    plain = Images(stored.dataset, stored.preprocessing)
    rows = np.array([3, 25, 3, 19, 28, 0])
    assert stored.missing(rows).tolist() == [25, 28]
    assert torch.equal(stored.gather(rows), plain.gather(rows))
    assert stored.gather(rows).is_contiguous(memory_format=torch.channels_last)
    assert plain.missing(rows).tolist() == list(plain.fill(rows)) == []


def test_rows_of_the_store_are_not_read_from_their_files(stored):
    unreadable = dataset_with(stored.dataset, lambda row: b"")
    images = Images(unreadable, stored.preprocessing, store=stored.store)
    assert len(images.gather(np.arange(20))) == 20
    with pytest.raises(DataError, match=r"image 'd e/0.png' \(row 21\) cannot be read: it is no image"):
        images.gather(np.array([2, 21]))


def test_pixels_stay_on_a_device_where_they_fit(stored):
    cpu = torch.device("cpu")
    rows = np.array([7, 2, 7, 25])
    before = stored.gather(rows)
    assert not stored.reside(rows, cpu)
    assert not stored.reside(rows, cpu, most_bytes=3 * 192 - 1)
    assert stored.reside(rows, cpu, most_bytes=3 * 192)
    stored.store = None
    gone = Images(dataset_with(stored.dataset, lambda row: b""), stored.preprocessing)
    gone._resident = stored._resident
    assert torch.equal(gone.gather(rows, cpu), before)
    assert gone.gather(rows, cpu).is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(DataError, match="row 3"):
        gone.gather(np.array([3, 7]), cpu)
    assert gone.reside(rows, cpu)  # as they do


def test_memory_is_bounded_by_the_setting(image_folder):
    images = Images(open_dataset(str(image_folder)), Preprocessing(8, 8), cache_bytes=5 * 3 * 8 * 8)
    images.gather(np.arange(29))
    assert len(images._kept) == 5


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"not an image", lambda b: b[:30] + bytes(900)]
)
def test_a_damaged_image_is_named_with_its_row(image_folder, damage):
    path = image_folder / "c" / "3.png"
    path.write_bytes(damage(path.read_bytes()))
    images = Images(open_dataset(str(image_folder)), Preprocessing(8, 8))
    with pytest.raises(DataError, match=r"shapes: image 'c/3.png' \(row 15\) cannot be read"):
        images.gather(np.arange(29))


def test_an_image_that_has_gone_is_named(image_folder):
    images = Images(open_dataset(str(image_folder)), Preprocessing(8, 8))
    (image_folder / "c" / "3.png").unlink()
    with pytest.raises(DataError, match=r"image 'c/3.png' \(row 15\) cannot be read"):
        images.gather(np.array([15]))


def dataset_with(dataset, read):
    from dataclasses import replace

    return replace(dataset, read=read)


@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 1, 1), (1, 6, 6), (4, 1, 3), (0, 2, 2)])
def test_normalised_images_are_the_same_bits_in_every_layout(shape):
    n, h, w = shape
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 256, (n, h, w, 3), dtype=torch.uint8, generator=generator)
    preprocessing, cpu = Preprocessing(9, 9), torch.device("cpu")
    mean, std = (torch.tensor(values) for values in (preprocessing.mean, preprocessing.std))
    expected = ((rows / 255 - mean) / std).permute(0, 3, 1, 2)
    for pixels in (rows.permute(0, 3, 1, 2), rows.permute(0, 3, 1, 2).contiguous()):
        assert torch.equal(normalise(pixels, preprocessing, cpu), expected)
