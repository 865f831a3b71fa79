import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.datasets.verification import Finding, examine, report
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing

CARD = """
name = "pets"
title = "Pets"
layout = "csv"
folders = ["."]
licence = "none"
source = "nowhere"
citation = "nobody"
get = "draw them."
group = "owner"
[csv]
files = ["pets.csv"]
group = "owner"
[classes]
dog = 3
cat = 3
"""
OWNERS = {
    "dog/0.png": "ann",
    "dog/1.png": "ann",
    "dog/2.png": "cid",
    "cat/0.png": "bob",
    "cat/1.png": "dan",
    "cat/2.png": "flo",
}


@pytest.fixture
def pets(tmp_path, rng):
    """Six images of two classes, a table with their owners, and a card that says so."""
    for path in OWNERS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)).save(tmp_path / path)
    write_table(tmp_path, OWNERS)
    (tmp_path / "card.toml").write_text(CARD)
    return tmp_path


def write_table(folder, owners):
    lines = [f"{path},{path.split('/')[0]},{owner}" for path, owner in owners.items()]
    (folder / "pets.csv").write_text("\n".join(["path,label,owner", *lines]) + "\n")


def found(folder, card=True, **kwargs):
    name = str(folder / "card.toml") if card else str(folder)
    dataset = open_dataset(name, root=folder, faulty=True)
    few = [one for part in examine(dataset, **kwargs) for one in part]
    return report(dataset, read_dataset_card(folder / "card.toml") if card else None, few)


def test_of_clean_data_there_is_nothing_to_say(pets):
    assert found(pets) == found(pets, n_workers=3)
    assert (found(pets).wrong, found(pets).notes) == ((), ())


def test_every_image_that_cannot_be_read_is_named_whatever_is_wrong_with_it(pets):
    path = pets / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    (pets / "dog" / "0.png").write_bytes(b"hello")
    (pets / "dog" / "2.png").write_bytes(b"")
    empty, bad = found(pets).wrong
    assert "dog/2.png" in empty.text
    assert "empty (0 bytes)" in empty.text
    assert bad.text == "3 images cannot be read"
    assert bad.cases[:2] == ("dog/0.png: it is no image", "dog/2.png: empty (0 bytes)")
    assert bad.cases[2].startswith("cat/1.png: ")
    assert "truncated" in bad.cases[2]


def test_an_image_that_is_gone_by_now_is_named(pets):
    dataset = open_dataset(str(pets / "card.toml"), root=pets)
    (pets / "cat" / "1.png").unlink()
    (bad,) = report(dataset, None, [one for part in examine(dataset) for one in part]).wrong
    assert bad.text == "1 image cannot be read"
    assert bad.cases[0].startswith("cat/1.png: [Errno 2] No such file")


def test_two_empty_files_are_no_copies(pets):
    for name in ("dog/0.png", "dog/1.png"):
        (pets / name).write_bytes(b"")
    assert [finding.text for finding in found(pets).wrong[1:]] == ["2 images cannot be read"]


def test_copies_within_and_across_classes_are_named_with_their_classes(pets):
    shutil.copy(pets / "dog" / "0.png", pets / "dog" / "1.png")
    (copies,) = found(pets).wrong
    assert copies == Finding("1 set of images is the same byte for byte", ("dog/0.png (dog) = dog/1.png (dog)",))
    shutil.copy(pets / "dog" / "0.png", pets / "cat" / "1.png")
    shutil.copy(pets / "cat" / "0.png", pets / "cat" / "2.png")
    (copies,) = found(pets).wrong
    assert copies.text == "2 sets of images are the same byte for byte"
    assert copies.cases == (
        "dog/0.png (dog) = dog/1.png (dog) = cat/1.png (cat)",
        "cat/0.png (cat) = cat/2.png (cat)",
    )


def test_images_that_only_look_alike_are_no_copies(pets):
    Image.open(pets / "dog" / "0.png").save(pets / "dog" / "1.png", compress_level=0)
    assert found(pets).wrong == ()


def test_a_group_of_several_classes_is_wrong_unless_the_card_expects_it(pets):
    write_table(pets, {**OWNERS, "cat/0.png": "ann", "cat/1.png": "eve", "dog/2.png": "eve"})
    expected = Finding("2 owners have images of several classes", ("ann: dog, cat", "eve: dog, cat"))
    assert (found(pets).wrong, found(pets).notes) == ((expected,), ())
    (pets / "card.toml").write_text(CARD.replace("[csv]", "groups_span_classes = true\n[csv]"))
    assert (found(pets).wrong, found(pets).notes) == ((), (expected,))
    write_table(pets, {**OWNERS, "cat/0.png": "ann"})
    assert found(pets).notes == (Finding("1 owner has images of several classes", ("ann: dog, cat",)),)


def test_counts_off_the_card_are_wrong(pets):
    (pets / "cat" / "1.png").unlink()
    report = found(pets)
    assert report.wrong == (Finding("pets: a subset: 5 of 6 images (cat 2 of 3)"),)
    (note,) = report.notes
    assert "cat/1.png" in note.text


def test_counts_of_a_card_without_class_names_are_checked_too(pets):
    without, _ = CARD.split("[classes]")
    (pets / "card.toml").write_text(without.replace("[csv]", "n_classes = 3\nn_images = 9\n[csv]"))
    (finding,) = found(pets).wrong
    assert finding.text == "pets: a subset: 6 of 9 images (2 of 3 classes)"


def test_problems_are_wrong_and_notices_are_notes(pets):
    write_table(pets, OWNERS)
    with (pets / "pets.csv").open("a") as file:
        file.write("dog/0.png,dog,ann\nbird/0.png,bird,eve\n")
    Image.new("RGB", (3, 3)).save(pets / "dog" / "extra.png")
    report = found(pets)
    assert any("dog/0.png: listed more than once" in finding.text for finding in report.wrong)
    assert any("1 of 8 images left out" in finding.text for finding in report.notes)
    assert any("dog/extra.png" in finding.text for finding in report.notes)


def test_without_a_card_files_are_checked_all_the_same(image_folder):
    shutil.copy(image_folder / "c" / "0.png", image_folder / "d e" / "0.png")
    report = found(image_folder, card=False)
    assert report.wrong == (Finding("1 set of images is the same byte for byte", ("c/0.png (c) = d e/0.png (d e)",)),)


def test_images_in_memory_are_checked_too(tmp_path):
    x = np.arange(4 * 5 * 5, dtype=np.uint8).reshape(4, 5, 5)
    x[3] = x[0]
    np.savez(tmp_path / "a.npz", images=x, labels=[0, 0, 1, 1], groups=[7, 8, 8, 9])
    dataset = open_dataset(str(tmp_path / "a.npz"))
    copies, groups = report(dataset, None, [one for part in examine(dataset) for one in part]).wrong
    assert copies.cases == ("0000000 (0) = 0000003 (1)",)
    assert groups == Finding("1 group has images of several classes", ("8: 0, 1",))


def test_what_verify_finds_readable_the_store_can_decode_and_the_other_way_round(pets):
    """An independent answer: both read the same files."""
    damaged = {"dog/1.png": b"\x89PNG\r\n\x1a\n", "cat/2.png": (pets / "cat/2.png").read_bytes()[:60]}
    for name, content in damaged.items():
        (pets / name).write_bytes(content)
    dataset = open_dataset(str(pets / "card.toml"), root=pets)
    store = Store(dataset, Preprocessing(8, 8), pets / "stores")
    with pytest.raises(Exception, match="2 images cannot be read"):
        list(store.fill(np.arange(6)))
    bad = {one.row for part in examine(dataset) for one in part if one.reason}
    assert bad == set(store.missing(np.arange(6)).tolist()) == {dataset.ids.index(name) for name in damaged}


def real(name, **changes):
    dataset = open_dataset(name, root=SHARED / "data", faulty=True)
    few = [one for part in examine(dataset) for one in part]
    return report(replace(dataset, **changes), read_dataset_card(shipped_cards()[name]), few)


@needs_shared
@pytest.mark.parametrize(
    ("name", "subset"),
    [
        ("eurosat", "1,000 of 27,000"),
        ("cropdisease", "525 of 43,456"),
        ("isic", "315 of 10,015"),
        ("chestx", "231 of 25,848"),
    ],
)
def test_of_the_real_subsets_only_their_size_is_wrong(name, subset):
    (finding,) = real(name).wrong
    assert finding.text.startswith(f"{name}: a subset: {subset} images (")


@needs_shared
def test_real_lesions_are_of_one_class_and_real_patients_of_several():
    assert real("isic").notes == ()
    notes = real("chestx").notes
    assert any(note.text.startswith("chestx: 769 of 1,000 images left out") for note in notes)
    assert notes[-1].text == "24 patients have images of several classes"
    assert "103: Mass, Pneumothorax" in notes[-1].cases


def test_copies_in_two_splits_are_told_apart_from_others(image_folder, tmp_path):
    folder = tmp_path / "parted"
    for number, part in enumerate(("train", "val", "test")):
        for path in sorted(image_folder.glob(f"*/[{number}{number + 3}].png")):
            (folder / part / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / part / path.parent.name)
    shutil.copy(folder / "train" / "c" / "0.png", folder / "train" / "d e" / "x.png")  # among the training images
    shutil.copy(folder / "train" / "c" / "3.png", folder / "test" / "c" / "x.png")
    shutil.copy(folder / "train" / "d e" / "3.png", folder / "val" / "d e" / "x.png")
    same, parted = found(folder, card=False).wrong
    assert same.text == "3 sets of images are the same byte for byte"
    assert parted.text.startswith("parted: 1 of 7 test images are also among the training and validation images, and ")
    assert parted.cases == (
        "test/c/x.png (test) = train/c/3.png (train)",
        "train/d e/3.png (train) = val/d e/x.png (val)",
    )
