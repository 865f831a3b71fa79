"""Official splits that lie in lists beside the images, on generated trees in the published layouts."""

from pathlib import Path

import pytest

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import split_of
from fewshot_bn.errors import DataError

TRAIN, TEST = 0, 2
LAYSAN, FOOTED = "002.Laysan_Albatross", "001.Black_footed_Albatross"


def write(path: Path, text: str = "image") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_cub(root):
    """Numbers of images are those of images.txt, in whatever order; 1 is for training."""
    images = {f"{LAYSAN}/b.jpg": TEST, f"{FOOTED}/z.jpg": TRAIN, f"{FOOTED}/a.jpg": TEST, f"{LAYSAN}/a.jpg": TRAIN}
    numbers = dict(zip(images, (3, 1, 4, 2), strict=True))
    for image in images:
        write(root / "CUB_200_2011" / "images" / image)
    write(root / "CUB_200_2011" / "images.txt", "".join(f"{k} {image}\n" for image, k in numbers.items()))
    lines = [f"{numbers[image]} {int(split == TRAIN)}\n" for image, split in sorted(images.items())]
    write(root / "CUB_200_2011" / "train_test_split.txt", "".join(lines))
    return images


def make_sun397(root, place="SUN397"):
    """Images that are on neither list belong to no split; there are nine more partitions."""
    images = {"a/abbey/sun_a.jpg": TRAIN, "a/abbey/sun_b.jpg": TEST, "a/abbey/sun_c.jpg": -1}
    images |= {"a/apse/indoor/sun_d.jpg": TEST, "a/apse/indoor/sun_e.jpg": TRAIN}
    write(root / "SUN397" / "ClassName.txt", "/a/abbey\n/a/apse/indoor\n")
    for image in images:
        write(root / "SUN397" / image)
    for name, split in (("Training", TRAIN), ("Testing", TEST)):
        listed = [f"/{image}\r\n" for image, of in images.items() if of == split]
        write(root / place / f"{name}_01.txt", "".join(listed))
        write(root / place / f"{name}_02.txt", "/a/abbey/sun_c.jpg\n")
    return {f"SUN397/{image}": split for image, split in images.items()}


def make_chestx(root):
    """The lists name all images of ChestX-ray8, also those of other findings, and end without a new line."""
    images = {"00000001_000.png": TRAIN, "00000002_000.png": TEST, "00000003_000.png": TRAIN, "00000004_000.png": TEST}
    findings = ["Mass", "Mass", "Nodule", "Nodule"]
    lines = [f"{image},{finding},{image[:8]}" for image, finding in zip(images, findings, strict=True)]
    lines += ["00000005_000.png,Mass|Nodule,00000005"]
    write(root / "ChestX" / "Data_Entry_2017.csv", "\n".join(["Image Index,Finding Labels,Patient ID", *lines]))
    for image in [*images, "00000005_000.png"]:
        write(root / "ChestX" / "images" / image)
    for name, split in (("train_val_list", TRAIN), ("test_list", TEST)):
        listed = [image for image, of in images.items() if of == split] + ["00000005_000.png"] * (split == TRAIN)
        write(root / "ChestX" / f"{name}.txt", "\n".join(listed))
    return images


MAKE = {"cub": make_cub, "sun397": make_sun397, "chestx": make_chestx}
TEST_LIST = {
    "cub": "CUB_200_2011/train_test_split.txt",
    "sun397": "SUN397/Testing_01.txt",
    "chestx": "ChestX/test_list.txt",
}


def splits(dataset):
    return None if dataset.splits is None else dict(zip(dataset.ids, dataset.splits.tolist(), strict=True))


@pytest.mark.parametrize("name", MAKE)
def test_the_lists_are_the_split_and_change_neither_rows_nor_fingerprint(tmp_path, name):
    expected = MAKE[name](tmp_path)
    with_lists = open_dataset(name, root=tmp_path)
    assert splits(with_lists) == expected
    for path in [*tmp_path.rglob("*_01.txt"), *tmp_path.rglob("*_list.txt"), *tmp_path.rglob("*_split.txt")]:
        path.unlink()
    if name == "cub":
        (tmp_path / "CUB_200_2011" / "images.txt").unlink()
    without = open_dataset(name, root=tmp_path)
    assert without.splits is None
    assert (without.ids, without.fingerprint, without.stamp) == (
        with_lists.ids,
        with_lists.fingerprint,
        with_lists.stamp,
    )
    assert without.notices == with_lists.notices


@pytest.mark.parametrize("place", ["SUN397", "SUN397/Partitions", ".", "Partitions"])
def test_the_partitions_of_sun397_are_found_where_they_are_unpacked(tmp_path, place):
    expected = make_sun397(tmp_path, place)
    assert splits(open_dataset("sun397", root=tmp_path)) == expected


def test_images_of_no_partition_take_no_part(tmp_path):
    make_sun397(tmp_path)
    for image in "fghij":
        write(tmp_path / "SUN397" / "a" / "abbey" / f"sun_{image}.jpg")
        write(tmp_path / "SUN397" / "a" / "apse" / "indoor" / f"sun_{image}.jpg")
    with (tmp_path / "SUN397" / "Training_01.txt").open("a") as file:
        file.write("/a/abbey/sun_f.jpg\n/a/apse/indoor/sun_f.jpg\n")
    dataset = open_dataset("sun397", root=tmp_path)
    split = split_of(dataset, 0)
    assert split.official
    assert (len(split.train), len(split.val), len(split.test), len(dataset)) == (2, 2, 2, 15)


@pytest.mark.parametrize("name", MAKE)
def test_a_list_without_the_other_is_said(tmp_path, name):
    MAKE[name](tmp_path)
    (tmp_path / TEST_LIST[name]).unlink()
    dataset = open_dataset(name, root=tmp_path)
    assert dataset.splits is None
    (finding,) = [notice for notice in dataset.notices if notice.is_wrong]
    assert f"is there, but {Path(TEST_LIST[name]).name} is not beside it" in finding.text
    assert "so there is no official split, and many-shot work draws one" in finding.text
    with pytest.raises(DataError, match="--strict takes only"):
        open_dataset(name, root=tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cub", "1 1\n9 0\n", "train_test_split.txt: holds '9 0'; the number of an image and 0 or 1 are needed"),
        ("cub", "1 1\n2 2\n", "train_test_split.txt: holds '2 2'; the number of an image and 0 or 1 are needed"),
        ("cub", "1 1\n2\n", "train_test_split.txt: holds '2'; two words are needed in each line"),
        ("cub", "1 1\n2 0 0\n", "train_test_split.txt: holds '2 0 0'; two words are needed in each line"),
        ("cub", "\n \n", "train_test_split.txt: names no image; so there is no official split"),
        ("cub", "1 1\n1 0\n", f"the official lists name {FOOTED}/z.jpg for training and for testing"),
        (
            "sun397",
            "/a/abbey/sun_a.jpg\n",
            "the official lists name SUN397/a/abbey/sun_a.jpg for training and for testing",
        ),
        ("chestx", "00000001_000.png\n", "the official lists name 00000001_000.png for training and for testing"),
        ("chestx", "00000002_000.png\0", "test_list.txt: line 1 holds"),
    ],
)
def test_a_list_that_cannot_be_used_is_said_and_there_is_no_split(tmp_path, name, text, message):
    MAKE[name](tmp_path)
    write(tmp_path / TEST_LIST[name], text)
    dataset = open_dataset(name, root=tmp_path)
    assert dataset.splits is None
    (finding,) = [notice for notice in dataset.notices if notice.is_wrong]
    assert message in finding.text


def test_lists_of_other_images_are_said(tmp_path):
    make_chestx(tmp_path)
    write(tmp_path / "ChestX" / "train_val_list.txt", "x.png\n")
    write(tmp_path / "ChestX" / "test_list.txt", "y.png\n")
    dataset = open_dataset("chestx", root=tmp_path)
    (finding,) = [notice for notice in dataset.notices if notice.is_wrong]
    assert "the official lists name x.png, y.png, and no image that is there" in finding.text
    assert dataset.splits is None
