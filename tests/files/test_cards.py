"""Every card that ships states all its facts."""

import dataclasses
import inspect
import sys

import pytest
import torchvision

from fewshot_bn.datasets import DatasetCard, read_dataset_card, shipped_cards
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
