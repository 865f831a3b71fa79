"""Trees of known datasets under other names than those on their cards: found where it is clear, else named."""

import shutil

import pytest
from PIL import Image

from fewshot_bn.data import main
from fewshot_bn.datasets import open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.errors import DataError

SKIN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
TRUTH = "ISIC2018_Task3_Training_GroundTruth"
INPUT = "ISIC2018_Task3_Training_Input"
FINDINGS = ("Atelectasis", "Effusion", "Mass")


def draw(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)


def folders(root, name, n=1):
    for k, class_name in enumerate(read_dataset_card(shipped_cards()[name]).classes):
        for i in range(n):
            draw(root / class_name / f"{class_name}_{i}.png", k)


def isic(root, table, images):
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    lines = [f"image,{','.join(SKIN)}"]
    for k in range(len(SKIN)):
        draw(root / images / f"ISIC_{k}.jpg")
        lines.append(f"ISIC_{k},{','.join('1.0' if j == k else '0.0' for j in range(len(SKIN)))}")
    (root / table).write_text("\n".join(lines))


def chestx(root, *images, ending="png"):
    lines = ["Image Index,Finding Labels,Patient ID"]
    for k, finding in enumerate(FINDINGS):
        lines.append(f"0000{k}_000.png,{finding},{k}")
        for folder in images:
            draw(root / folder / f"0000{k}_000.{ending}")
    root.mkdir(parents=True, exist_ok=True)
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines))


def said(dataset):
    return [str(notice) for notice in dataset.notices if "a subset" not in str(notice)]


@pytest.mark.parametrize(
    "place", ["EuroSAT_RGB", "eurosat", "eurosat/2750", "data/EuroSAT_RGB", "EuroSAT/EuroSAT", "EuroSAT/images"]
)
def test_eurosat_under_other_names(tmp_path, place):
    folders(tmp_path / "usual" / "EuroSAT" / "2750", "eurosat")
    folders(tmp_path / "other" / place, "eurosat")
    usual, other = (open_dataset("eurosat", root=tmp_path / root) for root in ("usual", "other"))
    assert (other.ids, other.fingerprint) == (usual.ids, usual.fingerprint)
    assert said(usual) == []
    assert said(other) == [f"eurosat: its tree was found in {tmp_path / 'other' / place}"]


def test_the_version_of_a_card_is_the_one_in_colour(tmp_path):
    folders(tmp_path / "EuroSAT_RGB", "eurosat", 2)
    folders(tmp_path / "EuroSAT_MS", "eurosat")
    for name, n in (("grayscale", 1), ("segmented", 1), ("color", 2)):
        folders(tmp_path / "plantvillage dataset" / name, "cropdisease", n)
    assert len(open_dataset("eurosat", root=tmp_path)) == 20
    assert len(open_dataset("cropdisease", root=tmp_path)) == 76


def test_cropdisease_is_the_training_half(tmp_path):
    folders(tmp_path / "plant-disease" / "dataset" / "train", "cropdisease", 2)
    folders(tmp_path / "plant-disease" / "dataset" / "test", "cropdisease")
    assert len(open_dataset("cropdisease", root=tmp_path)) == 76


def test_several_trees_are_named(tmp_path):
    for split in ("train", "test"):
        folders(tmp_path / "eurosat" / split, "eurosat")
    with pytest.raises(DataError, match=r"eurosat: its tree is not in its place, and may be any of eurosat/test, euro"):
        open_dataset("eurosat", root=tmp_path)


def test_an_archive_that_is_not_unpacked_is_named(tmp_path):
    (tmp_path / "EuroSAT.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=f"eurosat: no data found; .*{tmp_path} holds EuroSAT.zip, to be unpacked if"):
        open_dataset("eurosat", root=tmp_path)


def test_half_of_the_classes_are_needed(tmp_path):
    folders(tmp_path / "mine", "eurosat")
    for name in ("River", "Forest", "Highway", "Pasture", "Residential", "SeaLake"):
        shutil.rmtree(tmp_path / "mine" / name)
    with pytest.raises(DataError, match="eurosat: no data found; looked in"):
        open_dataset("eurosat", root=tmp_path)


@pytest.mark.parametrize(
    ("table", "images"),
    [
        (f"ISIC/{TRUTH}.csv", f"ISIC/{INPUT}"),
        (f"isic2018/{TRUTH}/{TRUTH}.csv", f"isic2018/{INPUT}"),
        (f"labels/{TRUTH}.csv", f"{INPUT}/{INPUT}"),
        (f"ISIC/{TRUTH}/{TRUTH}.csv", "ISIC/resized"),
        (f"ISIC/{TRUTH}/{TRUTH}.csv", f"{INPUT}_224"),
    ],
)
def test_isic_under_other_names(tmp_path, table, images):
    isic(tmp_path / "usual", f"ISIC/{TRUTH}/{TRUTH}.csv", f"ISIC/{INPUT}")
    isic(tmp_path / "other", table, images)
    usual, other = (open_dataset("isic", root=tmp_path / root) for root in ("usual", "other"))
    assert (other.ids, other.fingerprint) == (usual.ids, usual.fingerprint)
    assert other.read(0) == usual.read(0)


@pytest.mark.parametrize("place", ["images-224", "images_224", "resized", "images/images", "images_224x224/images_2"])
def test_resized_copies_of_chestx(tmp_path, place):
    chestx(tmp_path / "usual" / "ChestX", "images")
    chestx(tmp_path / "other" / "ChestX", place)
    usual, other = (open_dataset("chestx", root=tmp_path / root) for root in ("usual", "other"))
    assert (other.ids, other.fingerprint, other.groups) == (usual.ids, usual.fingerprint, usual.groups)
    assert said(other) == [f"chestx: the images are those in {place} of {tmp_path}/other/ChestX"]


def test_copies_may_be_of_another_format(tmp_path):
    chestx(tmp_path / "ChestX", "resized", ending="jpg")
    dataset = open_dataset("chestx", root=tmp_path)
    assert dataset.ids == tuple(f"0000{k}_000.png" for k in range(3))
    assert dataset.read(0).startswith(b"\xff\xd8")


def test_several_copies_are_named_and_so_is_what_was_looked_for(tmp_path):
    chestx(tmp_path / "ChestX", "images-224", "images-512")
    with pytest.raises(
        DataError, match=r"the same are in .*images-224, .*images-512; call the .* meant images, or move"
    ):
        open_dataset("chestx", root=tmp_path)
    shutil.rmtree(tmp_path / "ChestX" / "images-224")
    shutil.rmtree(tmp_path / "ChestX" / "images-512")
    looked = (
        r"none of the 3 listed images is there: .*; looked in the folders images, images_\*/images of .*/ChestX, and"
    )
    with pytest.raises(DataError, match=looked):
        open_dataset("chestx", root=tmp_path)


def test_list_and_fetch_find_what_a_run_finds(tmp_path, capsys):
    lines = ["lesion_id,image_id,dx"]
    for k, name in enumerate(SKIN):
        draw(tmp_path / "HAM10000" / "HAM10000_images_part_1" / f"ISIC_{k}.jpg")
        lines.append(f"L{k},ISIC_{k},{name.lower()}")
    (tmp_path / "HAM10000" / "HAM10000_metadata.csv").write_text("\n".join(lines))
    folders(tmp_path / "EuroSAT_RGB", "eurosat")
    assert main(["list", "--data-root", str(tmp_path)]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert listed["isic"].endswith(f"7 of 10,015 images: {tmp_path / 'HAM10000'}")
    assert listed["eurosat"].endswith(f"10 of 27,000 images: {tmp_path / 'EuroSAT_RGB'}")
    for name, n, folder in (("isic", 7, "HAM10000"), ("eurosat", 10, "EuroSAT_RGB")):
        assert main(["fetch", name, "--data-root", str(tmp_path)]) == 0
        assert f"{name}: {n} images of {n} classes are in {tmp_path / folder}" in capsys.readouterr().out


def test_fetch_says_both_forms_of_isic(tmp_path, capsys):
    assert main(["fetch", "isic", "--data-root", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "ISIC/ISIC2018_Task3_Training_Input/<image>.jpg" in out
    assert "   or, of the form of others: download HAM10000_metadata.csv" in out
    assert main(["fetch", "chestx", "--data-root", str(tmp_path)]) == 2
    assert "   or" not in capsys.readouterr().out
