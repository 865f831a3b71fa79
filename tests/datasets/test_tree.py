"""What is left out of image folders, and how it is told."""

import os
import shutil
import socket

import pytest

from fewshot_bn.data import main
from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError


def notices(folder):
    return [(finding.text, finding.is_wrong) for finding in open_dataset(str(folder)).notices]


def test_plain_files_are_counted_by_suffix(image_folder):
    for name in ("a.txt", "b.TXT", "Thumbs.db", "c.json", "unknown", "d.xyz"):
        (image_folder / "c" / name).write_text("hello")
    text = "shapes: 6 files left out: 2 .txt, 1 .db, 1 .json, 1 without suffix, 1 .xyz"
    ((found, is_wrong),) = notices(image_folder)
    assert (sorted(found.split(": ")[2].split(", ")), is_wrong) == (sorted(text.split(": ")[2].split(", ")), False)
    assert found.startswith("shapes: 6 files left out: 2 .txt, ")


@pytest.mark.parametrize("suffix", ["", ".image", ".heic"])
def test_images_of_suffixes_that_are_not_read_are_wrong(image_folder, suffix, capsys):
    for k in range(3):
        (image_folder / "c" / f"{k}.png").rename(image_folder / "c" / f"{k}{suffix}")
    ((text, is_wrong),) = notices(image_folder)
    assert text.startswith(f"shapes: 3 files left out: 3 {suffix or 'without suffix'}; these are images")
    assert is_wrong
    assert main(["verify", str(image_folder)]) == 1
    assert f"wrong: {text}" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "jp2", "avif", "pnm", "dib"])
def test_suffixes_of_formats_that_pil_opens_are_images(image_folder, suffix):
    (image_folder / "c" / "1.png").rename(image_folder / "c" / f"1.{suffix}")
    assert open_dataset(str(image_folder)).class_sizes == [12, 9, 8]
    assert notices(image_folder) == []


def test_a_class_of_other_files_says_what_they_are(image_folder):
    for path in (image_folder / "c").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(DataError, match="the class folder 'c' .* holds no image .*, but: 9 files left out: 9 .heic"):
        open_dataset(str(image_folder))


def test_what_is_no_file_is_counted_and_never_opened(image_folder):
    os.mkfifo(image_folder / "c" / "x.png")
    os.mkfifo(image_folder / "c" / "pipe")
    (image_folder / "c" / "zero.png").symlink_to("/dev/zero")
    (image_folder / "c" / "loop").symlink_to(image_folder / "c")
    with socket.socket(socket.AF_UNIX) as there:
        here = os.open(image_folder / "c", os.O_RDONLY)
        there.bind(f"/proc/self/fd/{here}/s.png")  # a path of few characters
        os.close(here)
    ((text, is_wrong),) = notices(image_folder)
    assert text.startswith("shapes: 5 files left out: 2 fifo, ")
    assert all(kind in text for kind in ("1 device", "1 socket", "1 link to a folder"))
    assert not is_wrong


def test_what_systems_leave_is_ignored(image_folder):
    for name in ("__MACOSX", "c/@eaDir", ".ipynb_checkpoints", "c/__MACOSX"):
        shutil.copytree(image_folder / "d e", image_folder / name)
    shutil.copy(image_folder / "c" / "1.png", image_folder / "c" / "._1.png")
    assert open_dataset(str(image_folder)).class_sizes == [12, 9, 8]
    assert notices(image_folder) == []
