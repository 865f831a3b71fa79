"""Lists `IMG_NAME CLASS_NUMBER` beside generated images."""

import os
from pathlib import Path

import pytest
from PIL import Image

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError

LINES = ["a.png 10", "c  d 1.png 2", "e,f.png 2", "007 9"]


@pytest.fixture
def listed(tmp_path):
    """Writes a list beside a folder of four images; returns its path as text."""
    for k, name in enumerate(["a.png", "c  d 1.png", "e,f.png", "007"]):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (k, 0, 0)).save(tmp_path / "images" / name, "PNG")

    def write(text: str | bytes | list[str]) -> str:
        text = "\n".join(text) if isinstance(text, list) else text
        (tmp_path / "mine.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / "mine.txt")

    return write


def test_names_may_hold_spaces_and_numbers_count_by_their_value(listed, tmp_path):
    dataset = open_dataset(listed(LINES))
    assert dataset.name == "mine"
    assert dataset.class_names == ("2", "9", "10")
    assert dataset.ids == ("c  d 1.png", "e,f.png", "007", "a.png")
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    assert dataset.read(0) == (tmp_path / "images" / "c  d 1.png").read_bytes()
    assert (dataset.notices, dataset.problems, dataset.groups, dataset.splits) == ((), (), None, None)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + "\n".join(LINES).encode(),
        "\r\n".join(LINES) + "\r\n\r\n",
        "\r".join(LINES),
        "\n".join(f"  {line} \t" for line in LINES),
        "\n".join("\t \t".join(line.rsplit(" ", 1)) for line in LINES),
        "\n".join(line.replace(" 9", " 009") for line in LINES),
        "\n".join(f"./{line}" for line in reversed(LINES)),
    ],
)
def test_a_list_in_every_dialect(listed, text):
    plain, other = open_dataset(listed(LINES)), open_dataset(listed(text))
    assert (other.ids, other.fingerprint, other.notices) == (plain.ids, plain.fingerprint, ())


@pytest.mark.parametrize("place", ["{}/", "images/", "./images//"])
def test_images_may_be_named_by_their_paths(listed, tmp_path, place):
    place = place.format(tmp_path / "images")
    dataset = open_dataset(listed([place + line for line in LINES]))
    assert dataset.ids == ("images/c  d 1.png", "images/e,f.png", "images/007", "images/a.png")


def test_images_may_lie_beside_the_list(listed, tmp_path):
    listed(LINES)
    (tmp_path / "mine.txt").rename(tmp_path / "images" / "mine.txt")
    assert open_dataset(str(tmp_path / "images" / "mine.txt")).class_sizes == [2, 1, 1]


def test_the_folder_that_holds_most_of_them_is_taken(listed, tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.png").write_bytes(b"another")
    (tmp_path / ".hidden").symlink_to("images")
    (tmp_path / "circle").symlink_to("circle")
    dataset = open_dataset(listed(LINES))
    assert dataset.read.folder == tmp_path / "images"


def test_images_that_are_not_listed_are_noticed(listed):
    (notice,) = open_dataset(listed(["a.png 0", "e,f.png 1"])).notices
    assert notice.text == "mine: 1 images are there but not listed, and left out: c  d 1.png"


WHOLE = ["a.png 0", "e,f.png 1"]
FORM = "lines of the form IMG_NAME CLASS_NUMBER are needed"
UNREADABLE = {
    "empty": ("", f"found nothing; {FORM}"),
    "blank": (" \n\n", f"found nothing; {FORM}"),
    "no number": ([*WHOLE, "a.png"], f"mine.txt: found line 3: 'a.png'; {FORM}"),
    "a name": ([*WHOLE, "a.png cat"], f"found line 3: 'a.png cat'; {FORM}"),
    "a number only": ([*WHOLE, "7"], f"found line 3: '7'; {FORM}"),
    "a header": (["IMG_NAME CLASS_NUMBER", *WHOLE], "found line 1: 'IMG_NAME CLASS_NUMBER'"),
    "negative": ([*WHOLE, "a.png -1"], "found line 3: 'a.png -1'"),
    "a fraction": ([*WHOLE, "a.png 1.0"], "found line 3: 'a.png 1.0'"),
    "a digit of another script": ([*WHOLE, "a.png ²", "a.png ٣"], "found line 3: 'a.png ²', line 4: 'a.png ٣'"),
    "a huge number": ([*WHOLE, "a.png " + "9" * 5000], f"found line 3: 'a.png 9{{54}}'; {FORM}"),
    "a huge name": ([*WHOLE, "a" * 5000 + " 1"], f"found line 3: 'a{{60}}'; {FORM}"),
    "CSV": (["a.png,0", "b.png,1", "c.png,1", "d.png,1"], "'a.png,0', line 2: 'b.png,1', line 3: 'c.png,1' and 1 more"),
    "Latin-1": ("a.png 0\n\xe9.png 1".encode("latin-1"), "mine.txt: line 2 is not in UTF-8; save this file again"),
    "UTF-16": ("a.png 0".encode("utf-16"), "line 1 is not in UTF-8"),
    "NUL": ([*WHOLE, "a\0.png 1"], r"line 3 holds '\\x00'; save this file again as text in UTF-8"),
    "bytes": (bytes(range(1, 256)), "line 2 is not in UTF-8"),
    "one class only": (["a.png 3", "e,f.png 3"], "mine: 1 classes found in .*images, at least 2 are needed"),
    "no image there": (
        ["x.png 0", "y.png 1"],
        "mine: 2 of 2 images are listed but not in .*: x.png, y.png; .* of 0 classes",
    ),
    "a class absent": (["a.png 0", "y.png 1"], "mine: 1 of 2 images are listed but not in .*: y.png; .* of 1 classes"),
}


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_list_that_cannot_be_used_is_one_clear_line(listed, text, message):
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(listed(text), faulty=True)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("a.png 1", "mine: a.png: listed more than once; leave one line for each image"),
        ("./a.png 0", "mine: a.png: listed more than once"),
        ("no.png 1", "mine: 1 of 3 images are listed but not in .*images: no.png"),
        ("n" * 300 + " 1", "mine: 1 of 3 images are listed but not in .*images: nnn"),
    ],
)
def test_problems_are_errors_that_can_be_looked_at(listed, more, message):
    path = listed([*WHOLE, more])
    with pytest.raises(DataError, match=message):
        open_dataset(path)
    assert len(open_dataset(path, faulty=True).problems) == 1


def test_empty_images_are_named_together(listed, tmp_path):
    for name in ("a.png", "e,f.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"e,f.png, a.png in .*images: empty \(0 bytes\)"):
        open_dataset(listed(LINES))


def test_a_folder_in_place_of_a_list(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DataError, match="folder.txt: 0 class folders found"):
        open_dataset(str(tmp_path / "folder.txt"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(listed, tmp_path):
    path = listed(LINES)
    (tmp_path / "lost+found").mkdir(mode=0)
    assert len(open_dataset(path)) == len(LINES)
    Path(path).chmod(0)
    with pytest.raises(DataError, match=r"mine.txt: this file cannot be read: Permission denied"):
        open_dataset(path)


def test_paths_as_windows_writes_them(listed, tmp_path):
    (tmp_path / "images").rename(tmp_path / "more")
    (tmp_path / "images").mkdir()
    (tmp_path / "more").rename(tmp_path / "images" / "deep")
    assert open_dataset(listed([f"deep\\{line}" for line in LINES])).ids[0] == "deep/c  d 1.png"
