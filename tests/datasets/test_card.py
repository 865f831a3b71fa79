"""Every card that ships states all its facts; cards of one's own, and what is wrong with them."""

import dataclasses
import inspect
import sys
from pathlib import Path

import pytest
import torchvision
from PIL import Image

from fewshot_bn.datasets import DatasetCard, open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.datasets.torchvision_known import KNOWN
from fewshot_bn.errors import DataError

CARDS = {name: read_dataset_card(path) for name, path in shipped_cards().items()}
TORCHVISION = [name for name, card in CARDS.items() if card.layout == "torchvision"]
NEEDED = ("name", "title", "licence", "source", "citation", "get", "tree")


@pytest.mark.parametrize("name", CARDS)
def test_no_fact_is_missing(name):
    card = CARDS[name]
    assert card.name == name
    embedded = {"tree"} if card.layout == "digits" else set()
    assert {field for field in NEEDED if not getattr(card, field).strip()} == embedded
    assert card.get.endswith(".")
    assert card.source.startswith(("https://", "http://"))
    assert card.n_classes >= 2
    assert all(n > 0 for n in card.classes.values())


def test_only_voc2007_leaves_its_number_of_images_open():
    assert [name for name, card in CARDS.items() if card.n_images == 0] == ["voc2007"]


def test_the_data_root_itself_may_be_what_torchvision_calls_root():
    assert {CARDS[name].folders[-1] for name in TORCHVISION} == {"."}


def test_no_two_downloads_have_the_same_name():
    files = [download.file for card in CARDS.values() for download in card.downloads]
    assert len(files) == len(set(files)) > 5


@pytest.mark.parametrize("name", TORCHVISION)
def test_cards_say_what_torchvision_says(name):
    card = CARDS[name]
    kind = getattr(torchvision.datasets, card.torchvision)
    source = inspect.getsource(sys.modules[kind.__module__])
    known = {download.md5 in source for download in card.downloads}
    assert known == ({False} if name == "aircraft" else {True} if card.downloads else set())
    assert card.tree.startswith(KNOWN[card.torchvision].tree.split("/")[0] + "/")


def test_the_md5_of_eurosat_is_that_of_torchvision():
    (download,) = CARDS["eurosat"].downloads
    assert f'"{download.md5}"' in inspect.getsource(torchvision.datasets.EuroSAT)


def test_a_card_may_leave_its_number_of_images_open_but_not_state_a_wrong_one():
    dtd = CARDS["dtd"]
    open_card = dataclasses.replace(dtd, classes={}, n_classes=47, n_images=0)
    assert isinstance(open_card, DatasetCard)
    assert open_card.n_images == 0
    for wrong in (46, -1):
        with pytest.raises(DataError, match="dtd: a card needs at least 2 classes, each of at least 1 image"):
            dataclasses.replace(open_card, n_images=wrong)
    with pytest.raises(DataError, match="dtd: n_images is 5639, but its classes make 5640"):
        dataclasses.replace(dtd, n_images=5639)


def make_tree(root: Path, sizes: dict[str, int]) -> None:
    for name, n in sizes.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(root / name / f"{i}.png")


CARD = """
name = "pets"
title = "Pets"
layout = "folder"
folders = ["Pets/images", "Pets"]
licence = "none"
source = "nowhere"
citation = "nobody"
get = "draw them."
[classes]
"dog, big" = 2
cat = 3
"""


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "pets.toml"
    path.write_text(CARD)
    return path


@pytest.mark.parametrize("folder", ["Pets/images", "Pets"])
def test_a_card_of_ones_own(card, tmp_path, folder):
    make_tree(tmp_path / "data" / folder, {"cat": 3, "dog, big": 2})
    dataset = open_dataset(str(card), root=tmp_path / "data")
    assert (dataset.name, dataset.class_names, dataset.class_sizes) == ("pets", ("dog, big", "cat"), [2, 3])
    assert (dataset.notices, dataset.n_on_card) == ((), 5)


@pytest.mark.parametrize(
    ("found", "notice"),
    [
        ({"cat": 3, "dog, big": 1}, r"pets: a subset: 4 of 5 images \(dog, big 1 of 2\)"),
        ({"cat": 4, "dog, big": 1}, r"pets: differs from its card: 5 of 5 images \(dog, big 1 of 2, cat 4 of 3\)"),
        ({"cat": 3, "dog, big": 2, "bird": 2}, "pets: folders that are no class of the card were left out: bird"),
    ],
)
def test_what_differs_from_the_card_is_noticed_and_with_strict_an_error(card, tmp_path, found, notice):
    make_tree(tmp_path / "Pets", found)
    dataset = open_dataset(str(card), root=tmp_path)
    assert len(dataset.notices) == 1
    with pytest.raises(DataError, match=notice):
        open_dataset(str(card), root=tmp_path, strict=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "none"\n', "", "the field 'licence' is missing"),
        ('licence = "none"', "licence = 3", "licence: 3 is not of type str"),
        (
            'licence = "none"',
            'licence = "none"\nlicense = "x"',
            r"unknown field 'license' \(did you mean 'licence'\?\)",
        ),
        ("cat = 3", 'cat = "3"', "classes.cat: '3' is not of type int"),
        ('layout = "folder"', 'layout = "csvs"', "layout: unknown value 'csvs'"),
        ('layout = "folder"', 'layout = "csv"', "the field 'csv' belongs to layout 'csv', and has to be there"),
        ('licence = "none"', 'licence = "none"\nn_images = 6', "n_images is 6, but its classes make 5"),
        ("cat = 3", "cat 3", "not valid TOML"),
        ("cat = 3", "cat = -3", "at least 2 classes, each of at least 1 image"),
        ('folders = ["Pets/images", "Pets"]', "", "names its folders"),
        ('layout = "folder"', 'layout = "digits"', "the digits have 10 classes, this card 2"),
    ],
)
def test_wrong_cards(card, old, new, message):
    card.write_text(CARD.replace(old, new))
    with pytest.raises(DataError, match=message):
        open_dataset(str(card))


TABLE = """
[csv]
files = ["labels.csv"]
images = ["images"]
[csv.groups]
file = "groups.csv"
image = "image"
group = "patient"
"""
OUTSIDE = ["/etc/passwd", "../../etc/passwd", "a/../../b", "**x", "a/**b", "\\u0000"]


@pytest.mark.parametrize("place", [*OUTSIDE, "", "."])
@pytest.mark.parametrize("field", ['files = ["labels.csv"]', 'images = ["images"]', 'file = "groups.csv"'])
def test_a_card_reads_nothing_outside_the_folder_of_the_data(card, tmp_path, field, place):
    text = CARD.replace('layout = "folder"', 'layout = "csv"') + TABLE
    card.write_text(text)
    assert read_dataset_card(card).csv.files == ("labels.csv",)
    name, old = field.split(" = ")
    card.write_text(text.replace(field, f"{name} = {old.replace(old.split(chr(34))[1], place)}"))
    with pytest.raises(DataError, match="a path or pattern below the folder of the data is needed"):
        read_dataset_card(card)


@pytest.mark.parametrize("place", OUTSIDE)
def test_its_folders_lie_below_the_data_root(card, place):
    card.write_text(CARD.replace('"Pets"]', f'"{place}"]'))
    with pytest.raises(DataError, match="pets: folders: .*: a path or pattern below the folder of the data is needed"):
        read_dataset_card(card)
