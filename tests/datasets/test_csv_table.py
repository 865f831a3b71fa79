"""Tables of a user's own, and generated trees in the published layouts of ISIC 2018 and ChestX-ray8."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.card import Table
from fewshot_bn.datasets.csv_table import open_table
from fewshot_bn.errors import DataError
from fewshot_bn.preprocessing import Preprocessing, pixels_of

OK = "path,label\nim/a.png,x\nim/b.png,y\n"
AS_IT_IS = Preprocessing(8, 8)


def draw(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path, "PNG")


@pytest.fixture
def table(tmp_path):
    """Writes a table beside a folder `im` of four images; returns its path as text."""
    for k, name in enumerate(["a.png", "b.png", "c d.png", "e, f.png"]):
        draw(tmp_path / "im" / name, k)

    def write(text: str | bytes, name: str = "mine.csv") -> str:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


def pairs(dataset):
    return [(image, dataset.class_names[label]) for image, label in zip(dataset.ids, dataset.labels, strict=True)]


# A user's own table


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n , \n"])
def test_a_table_in_every_dialect_of_csv(table, tmp_path, bom, newline, end):
    text = 'path , label\nim/b.png,"big, ""old"" dog"\n im/c d.png , cat\n\n"im/e, f.png",cat\nim/a.png,Äpfel'
    dataset = open_dataset(table(bom + (text + end).replace("\n", newline).encode()))
    assert dataset.name == "mine"
    assert dataset.class_names == ('big, "old" dog', "cat", "Äpfel")
    assert dataset.ids == ("im/b.png", "im/c d.png", "im/e, f.png", "im/a.png")
    assert dataset.read(2) == (tmp_path / "im" / "e, f.png").read_bytes()
    assert (dataset.groups, dataset.splits, dataset.notices, dataset.problems) == (None, None, (), ())


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_cells_may_be_separated_otherwise(table, separator, newline):
    expected = pairs(open_dataset(table(OK)))
    assert pairs(open_dataset(table(OK.replace(",", separator).replace("\n", newline)))) == expected


def test_a_table_may_be_called_tsv(table, tmp_path):
    expected = pairs(open_dataset(table(OK)))
    (tmp_path / "mine.tsv").write_text(OK.replace(",", "\t"))
    assert pairs(open_dataset(str(tmp_path / "mine.tsv"))) == expected


@pytest.mark.parametrize("header", ["file_name,label", "Filename,Class", "PATH,LABEL", "image,target", "img,Category"])
def test_columns_may_have_other_names(table, header):
    expected = pairs(open_dataset(table(OK)))
    assert pairs(open_dataset(table(OK.replace("path,label", header)))) == expected


def test_of_several_names_the_first_counts(table):
    text = "image,path,label\n" + "".join(f"x,{line}\n" for line in OK.splitlines()[1:])
    assert pairs(open_dataset(table(text))) == pairs(open_dataset(table(OK)))


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "<NA>", "null", "n/a"])
def test_an_empty_label_is_no_class_however_it_is_written(table, empty):
    with pytest.raises(DataError, match="mine.csv line 4: no path or no label; add it or remove the line"):
        open_dataset(table(f"{OK}im/c d.png,{empty}\n"))


def test_columns_are_found_by_name_and_others_may_hold_anything(table):
    text = 'notes,label,path\n"two\nlines",x,im/a.png\n,y,im/b.png\n'
    assert pairs(open_dataset(table(text))) == [("im/a.png", "x"), ("im/b.png", "y")]


def test_groups_and_splits_are_read_where_their_columns_are_there(table):
    lines = ["im/b.png,p1,test,x", "im/a.png,p2,Training,x", "im/c d.png,p1,VALID,y", "im/e, f.png,p3,train,y"]
    text = "\n".join(["path,group,split,label", *lines])
    dataset = open_dataset(table(text.replace("im/e, f.png", '"im/e, f.png"')))
    assert dataset.ids == ("im/a.png", "im/b.png", "im/c d.png", "im/e, f.png")
    assert dataset.groups == ("p2", "p1", "p1", "p3")
    assert dataset.splits.tolist() == [0, 2, 1, 0]


def test_an_image_without_a_group_is_a_group_of_its_own_and_noticed(table):
    dataset = open_dataset(table("path,label,group\nim/a.png,x,p1\nim/b.png,y,\nim/c d.png,x,p1\n"))
    assert dataset.groups == ("p1", "p1", "(im/b.png)")
    assert dataset.notices[0].text == "mine: 1 images have no group, and are one of their own: im/b.png"


def test_numbers_are_classes_in_the_order_of_their_values(table):
    text = 'path,label\nim/a.png,10\nim/b.png,9\nim/c d.png,no number\n"im/e, f.png",1\n'
    assert open_dataset(table(text)).class_names == ("1", "9", "10", "no number")


def test_however_a_path_is_written_it_is_the_same_image(table, tmp_path):
    plain = open_dataset(table(OK))
    other = open_dataset(table(f"path,label\n{tmp_path}/im/a.png,x\n./im//b.png,y\n"))
    assert (other.ids, other.fingerprint, other.notices) == (plain.ids, plain.fingerprint, plain.notices)


def test_the_fingerprint_is_the_same_in_every_place(table, tmp_path):
    here = open_dataset(table(OK))
    shutil.copytree(tmp_path / "im", tmp_path / "else" / "im")
    (tmp_path / "else" / "mine.csv").write_text("label,path\ny,im/b.png\nx,im/a.png\n")
    there = open_dataset(str(tmp_path / "else" / "mine.csv"))
    assert here.fingerprint == there.fingerprint
    assert open_dataset(table(OK.replace("x", "z"))).fingerprint != here.fingerprint


def test_images_may_lie_anywhere(table, tmp_path):
    draw(tmp_path / "far" / "off.png")
    (tmp_path / "lists").mkdir()
    text = f"path,label\n../im/a.png,x\n{tmp_path}/far/off.png,y\n"
    dataset = open_dataset(table(text, "lists/mine.csv"))
    assert dataset.ids == ("../im/a.png", f"{tmp_path}/far/off.png")
    assert dataset.read(1) == (tmp_path / "far" / "off.png").read_bytes()
    assert tuple(map(str, dataset.notices)) == (
        "mine: 3 images are there but not listed, and left out: ../im/b.png, ../im/c d.png, ../im/e, f.png",
    )


def test_images_can_be_read_from_another_working_directory(table, tmp_path, monkeypatch):
    table(OK)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("mine.csv")
    monkeypatch.chdir("/")
    assert dataset.read(0) == (tmp_path / "im" / "a.png").read_bytes()


def test_what_lies_beside_the_images_and_is_none_does_not_matter(table, tmp_path):
    (tmp_path / "im" / "notes.txt").write_text("hello")
    (tmp_path / "im" / "folder.png").mkdir()
    (tmp_path / "im" / "gone.png").symlink_to("nowhere.png")
    draw(tmp_path / "im" / ".hidden.png")
    (notice,) = open_dataset(table(OK)).notices
    assert notice.text == "mine: 2 images are there but not listed, and left out: im/c d.png, im/e, f.png"


def test_an_image_may_have_any_suffix(table, tmp_path):
    draw(tmp_path / "im" / "scan.dat")
    assert open_dataset(table(OK + "im/scan.dat,y\n")).ids == ("im/a.png", "im/b.png", "im/scan.dat")


# Tables that cannot be read. (What is wrong with images is a problem, which can be looked at; this is not.)

COLUMNS = "its columns, separated by commas, are"
UNREADABLE = {
    "empty": ("", "has no column 'path', no column 'label', one is needed; it is empty"),
    "blank": ("\n\n", "it is empty"),
    "header only": ("path,label\n", "mine: mine.csv lists no image"),
    "another header": ("Picture,label\n", f"has no column 'path', one is needed; {COLUMNS} 'Picture', 'label'"),
    "columns of which either may be meant": (
        "file,image,label\nim/a.png,im/b.png,x\n",
        "has no column 'path', but 'file' and 'image'; call the right one so",
    ),
    "semicolons": ("a;b\nc;d\n", "no column 'path', .*; its columns, separated by semicolons, are 'a', 'b'"),
    "tabs": ("a\tb\nc\td\n", "its columns, separated by tabs, are 'a', 'b'"),
    "line break in the header": ('"pa\nth",label\n', rf"{COLUMNS} 'pa\\nth', 'label'"),
    "thousands of columns": (",".join(map(str, range(5000))), f"{COLUMNS} '0', .* and 4,988 more"),
    "a column twice": ("path,label,label\nim/a.png,x,y\n", "has 2 columns 'label', one is needed"),
    "too few cells": (
        OK + "im/c d.png\n",
        "mine.csv: line 4 has 1 cells, the header 2; a comma in a name needs quotes",
    ),
    "too many cells": (OK + "im/e, f.png,x\n", "line 4 has 3 cells, the header 2"),
    "cells after several lines": ('path,label,n\nim/a.png,x,"a\nb"\nim/b.png,y\n', "line 4 has 2 cells"),
    "a quote that does not close": (
        OK + '"im/c d.png,x\n',
        "line 4: no CSV: unexpected end of data; look at its quotes",
    ),
    "a quote that closes too early": (OK + '"im/c d.png"x,x\n', "line 4: no CSV: ',' expected after"),
    "a quote over lines": (OK + '"im/c\n d.png",x\n', "line 4 has a name or label of several lines or more than 1,000"),
    "a huge cell": (OK + "x" * 200_000 + ",x\n", "line 4: no CSV: field larger than field limit"),
    "a long label": (OK + "im/c d.png," + "x" * 2000, "line 4 has a name or label of several lines or more than 1,000"),
    "a long number": (
        OK + "im/c d.png," + "9" * 5000,
        "line 4 has a name or label of several lines or more than 1,000",
    ),
    "Latin-1": ((OK + "im/c d.png,\xe9\n").encode("latin-1"), "line 4 is not in UTF-8; save this file again"),
    "UTF-16": (OK.encode("utf-16"), "line 1 is not in UTF-8"),
    "UTF-16 without a mark": (OK.encode("utf-16-le"), r"line 1 holds '\\x00'; save this file again as text in UTF-8"),
    "NUL": (OK + "im/\0c.png,x\n", r"line 4 holds '\\x00'"),
    "terminal escapes": (OK + "im/c d.png,\x1b[2Jx\n", r"line 4 holds '\\x1b'"),
    "no label at all": ("path,label\nim/a.png,\nim/b.png,\n", "mine.csv line 2, mine.csv line 3: no path or no label"),
    "one class only": ("path,label\nim/a.png,x\nim/b.png,x\n", "mine: 1 classes found in .*, at least 2 are needed"),
    "no image there": (
        OK.replace("im/", r"gone\\"),
        r"2 of 2 images are listed but not in .*: gone.*a.png, .*; im/a.png is there: write paths as seen from the fol",
    ),
    "no image anywhere": (
        "path,label\nno.png,x\nnone.png,y\n",
        r"2 of 2 images are listed but not in .*; those that are there are of 0 classes, at least 2 are needed",
    ),
    "a class whose images are absent": (
        "path,label\nim/a.png,x\nno.png,y\n",
        r"1 of 2 images are listed but not in .*: no.png; those that are there are of 1 classes, at least 2 are needed",
    ),
}


@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_table_that_cannot_be_used_is_one_clear_line(table, text, message, faulty):
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(table(text), faulty=faulty)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


PROBLEMS = {
    "listed twice": (OK + "im/a.png,x\n", "mine: im/a.png: listed more than once; leave one line for each image"),
    "twice in two ways": (OK + "./im//a.png,y\n", "mine: im/a.png: listed more than once"),
    "no label": (OK + "im/c d.png,\nno.png,  \n", "mine: mine.csv line 4, mine.csv line 5: no path or no label"),
    "no path": (OK + ",x\n", "mine: mine.csv line 4: no path or no label"),
    "absent": (OK + "no.png,x\n", "mine: 1 of 3 images are listed but not in .*: no.png"),
    "many absent": (
        OK + "".join(f"{k}.png,x\n" for k in range(9)),
        "mine: 9 of 11 images are listed .*: 0.png, 1.png, 2.png and 6 more",
    ),
    "a folder": (OK + "im,x\n", "mine: 1 of 3 images are listed but not in .*: im"),
    "a name too long for any disk": (OK + "n" * 300 + ".png,x\n", "mine: 1 of 3 images are listed but not in"),
    "no split": (
        "path,label,split\nim/a.png,x,train\nim/b.png,y,fold 1\nim/c d.png,y,\n",
        "mine: mine.csv line 3, mine.csv line 4: the split is none of train, val, test",
    ),
}


@pytest.mark.parametrize(("text", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_are_errors_that_can_be_looked_at(table, text, message):
    path = table(text)
    with pytest.raises(DataError, match=message):
        open_dataset(path)
    (problem,) = open_dataset(path, faulty=True).problems
    assert len(problem.text) < 500


def test_a_problem_names_the_first_cases_and_keeps_them_all(table):
    (problem,) = open_dataset(table(OK + "".join(f"{k}.png,x\n" for k in range(9))), faulty=True).problems
    assert problem.cases == tuple(f"{k}.png" for k in range(9))


def test_several_problems_are_counted(table):
    with pytest.raises(
        DataError, match=r"remove the line \(and 1 more problems\); python -m fewshot_bn.data verify .*mine.csv"
    ):
        open_dataset(table(OK + "im/c d.png,\nno.png,x\n"))


def test_empty_images_are_named_together(table, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / "im" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"im/a.png, im/b.png in .*: empty \(0 bytes\); get these files again"):
        open_dataset(table(OK))


def test_a_folder_or_a_pipe_in_place_of_a_table(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="folder.csv: 0 class folders found"):
        open_dataset(str(tmp_path / "folder.csv"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="pipe.csv: there is no image folder, card .* or file"):
        open_dataset(str(tmp_path / "pipe.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(table, tmp_path):
    path = table(OK)
    (tmp_path / "im").chmod(0)
    with pytest.raises(DataError, match=r"im.*: this folder or file cannot be read: Permission denied"):
        open_dataset(path)
    (tmp_path / "im").chmod(0o700)
    (tmp_path / "mine.csv").chmod(0)
    with pytest.raises(DataError, match=r"mine.csv: this file cannot be read: Permission denied"):
        open_dataset(path)


# ISIC 2018

ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
ISIC = "ISIC/ISIC2018_Task3_Training_"
LESIONS = f"{ISIC}LesionGroupings.csv"


def make_isic(root: Path, labels: dict[str, tuple[str, ...]], columns: tuple[str, ...] = ISIC_CLASSES) -> None:
    lines = ["image," + ",".join(columns)]
    for image, classes in labels.items():
        lines.append(f"{image}," + ",".join("1.0" if name in classes else "0.0" for name in columns))
        draw(root / f"{ISIC}Input" / f"{image}.jpg")
    truth = root / f"{ISIC}GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    truth.parent.mkdir(parents=True)
    truth.write_text("\n".join(lines))


SKIN = {"ISIC_3": ("VASC",), "ISIC_1": ("NV",), "ISIC_2": ("NV",), "ISIC_4": ("MEL",), "ISIC_5": ("BKL",)}


@pytest.mark.parametrize("columns", [ISIC_CLASSES, ISIC_CLASSES[::-1]])
@pytest.mark.parametrize("place", ["ISIC", "."])
def test_the_classes_of_isic_have_the_order_of_its_card(tmp_path, columns, place):
    make_isic(tmp_path, SKIN, columns)
    root = tmp_path if place == "ISIC" else tmp_path / "ISIC"
    dataset = open_dataset("isic", root=root)
    assert dataset.class_names == ("MEL", "NV", "BKL", "VASC")
    assert dataset.ids == ("ISIC_4.jpg", "ISIC_1.jpg", "ISIC_2.jpg", "ISIC_5.jpg", "ISIC_3.jpg")
    assert dataset.labels.tolist() == [0, 1, 1, 2, 3]
    assert dataset.groups is None
    assert tuple(map(str, dataset.notices)) == (
        "isic: a subset: 5 of 10,015 images (MEL 1 of 1,113, NV 2 of 6,705, BCC 0 of 514 and 4 more)",
    )


def test_the_lesions_of_isic_are_groups(tmp_path):
    make_isic(tmp_path, SKIN)
    plain = open_dataset("isic", root=tmp_path)
    lesions = "image,lesion_id,diagnosis_confirm_type\nISIC_2,HAM_1,x\nISIC_1,HAM_1,x\nISIC_3,HAM_2,x\nISIC_5,HAM_3,x\n"
    (tmp_path / LESIONS).write_text(lesions + "ISIC_9,HAM_4,x\n")
    dataset = open_dataset("isic", root=tmp_path)
    assert dataset.groups == ("(ISIC_4.jpg)", "HAM_1", "HAM_1", "HAM_3", "HAM_2")
    assert dataset.notices[0].text == "isic: 1 images have no group, and are one of their own: ISIC_4"
    assert dataset.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,lesion\nISIC_1,HAM_1\n", "LesionGroupings.csv: has no column 'lesion_id'"),
        (
            "image,lesion_id\nISIC_1,HAM_1\nISIC_1,HAM_2\n",
            "LesionGroupings.csv line 3: ISIC_1 was of another lesion_id",
        ),
    ],
)
def test_lesions_that_cannot_be_read(tmp_path, text, message):
    make_isic(tmp_path, SKIN)
    (tmp_path / LESIONS).write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset("isic", root=tmp_path)


def test_rows_of_isic_with_no_label_or_several_are_one_problem(tmp_path):
    make_isic(tmp_path, {**SKIN, "ISIC_6": (), "ISIC_7": ("MEL", "NV")})
    path = tmp_path / f"{ISIC}GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    path.write_text(path.read_text() + "\nISIC_8,nan,0,0,0,0,0,0\nISIC_9,one,0,0,0,0,0,0\n")
    where = ", ".join(f"ISIC2018_Task3_Training_GroundTruth.csv line {line}" for line in (7, 8, 9))
    message = f"isic: {where} and 1 more: an image needs exactly one label, these have none or several"
    with pytest.raises(DataError, match=message):
        open_dataset("isic", root=tmp_path)
    assert len(open_dataset("isic", root=tmp_path, faulty=True)) == 5


def test_a_column_of_isic_that_is_missing_is_named(tmp_path):
    make_isic(tmp_path, SKIN, tuple(name for name in ISIC_CLASSES if name != "DF"))
    with pytest.raises(DataError, match="GroundTruth.csv: has no column 'DF', one is needed; .*'VASC'"):
        open_dataset("isic", root=tmp_path)


def test_images_of_isic_that_are_absent_or_not_listed_are_noticed(tmp_path):
    make_isic(tmp_path, SKIN)
    folder = tmp_path / f"{ISIC}Input"
    (folder / "ISIC_1.jpg").rename(folder / "ISIC_0.jpg")
    dataset = open_dataset("isic", root=tmp_path)
    assert dataset.notices[0].text == "isic: 1 images are there but not listed, and left out: ISIC_0.jpg"
    assert dataset.notices[1].text == f"isic: 1 of 5 images are listed but not in {tmp_path}/ISIC: ISIC_1.jpg"
    assert dataset.class_sizes == [1, 1, 1, 1]


def test_the_images_of_isic_are_nowhere(tmp_path):
    make_isic(tmp_path, SKIN)
    shutil.rmtree(tmp_path / f"{ISIC}Input")
    with pytest.raises(
        DataError, match=r"isic: none of the 5 listed .*ISIC_3.jpg.*in the folders ISIC2018_\w+_Input of "
    ):
        open_dataset("isic", root=tmp_path)


@pytest.mark.parametrize("place", ["HAM10000", "."])
@pytest.mark.parametrize("inner", ["", "/HAM10000_images_part_1"])
def test_isic_is_read_as_ham10000_too(tmp_path, place, inner):
    make_isic(tmp_path / "official", SKIN)
    lesions = ["ISIC_2,HAM_1", "ISIC_1,HAM_1", "ISIC_3,HAM_2", "ISIC_5,HAM_3", "ISIC_4,HAM_4"]
    (tmp_path / "official" / LESIONS).write_text("\n".join(["image,lesion_id", *lesions]))
    group_of = dict(line.split(",") for line in lesions)
    folder = tmp_path / "kaggle" / place
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for k, (image, (label,)) in enumerate(SKIN.items()):
        draw(folder / f"HAM10000_images_part_{1 + k % 2}{inner}" / f"{image}.jpg")
        lines.append(f"{group_of[image]},{image},{label.lower()},histo,80.0,male,scalp")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines))
    official, ham = (open_dataset("ISIC", root=tmp_path / root) for root in ("official", "kaggle"))
    assert (ham.ids, ham.class_names, ham.groups) == (official.ids, official.class_names, official.groups)
    assert (ham.fingerprint, ham.name) == (official.fingerprint, "isic")


# ChestX-ray8

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
CHEST = {
    "00000002_000.png": "Pneumothorax",
    "00000001_000.png": "Cardiomegaly",
    "00000001_001.png": "Cardiomegaly|Emphysema",
    "00000001_002.png": "Cardiomegaly|Effusion",
    "00000003_000.png": "No Finding",
    "00000004_000.png": "Atelectasis",
    "00000005_000.png": "Pneumonia",
    "00000006_000.png": "Hernia",
    "00000001_003.png": "Atelectasis",
    "00000007_000.png": "Nodule",
    "00000007_001.png": "Mass",
    "00000007_002.png": "Infiltration",
    "00000008_000.png": "Effusion",
}
CHEST_CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")


def make_chestx(root: Path, folders: tuple[str, ...] = ("images",), comma: str = ",") -> None:
    """With the header of the NIH, whose square brackets hold commas; its first edition ended lines with a comma too."""
    lines = [NIH_HEADER + comma]
    for k, (image, labels) in enumerate(CHEST.items()):
        lines.append(f"{image},{labels},0,{int(image[:8])},058Y,M,PA,2682,2749,0.143,0.143{comma}")
        draw(root / "ChestX" / folders[k % len(folders)] / image, k)
    (root / "ChestX" / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("comma", ["", ","])
def test_images_of_chestx_with_exactly_one_of_seven_findings(tmp_path, comma):
    make_chestx(tmp_path, comma=comma)
    dataset = open_dataset("chestx", root=tmp_path)
    assert dataset.class_names == CHEST_CLASSES
    assert dataset.class_sizes == [2, 1, 1, 1, 1, 1, 1]
    assert pairs(dataset)[:3] == [
        ("00000001_003.png", "Atelectasis"),
        ("00000004_000.png", "Atelectasis"),
        ("00000001_000.png", "Cardiomegaly"),
    ]
    assert dataset.groups == ("1", "4", "1", "8", "7", "7", "7", "2")
    assert dataset.first_resize_px == 256
    assert dataset.notices[0].text == "chestx: 5 of 13 images left out, which are not of exactly one class"


def test_the_folders_of_kaggle_make_no_difference(tmp_path):
    make_chestx(tmp_path / "nih")
    make_chestx(tmp_path / "kaggle", ("images_001/images", "images_002/images", "images_012/images"))
    nih, kaggle = (open_dataset("chestx", root=tmp_path / name) for name in ("nih", "kaggle"))
    assert (nih.ids, nih.labels.tolist(), nih.groups) == (kaggle.ids, kaggle.labels.tolist(), kaggle.groups)
    assert nih.fingerprint == kaggle.fingerprint
    assert [nih.read(row) for row in range(len(nih))] == [kaggle.read(row) for row in range(len(kaggle))]


def test_an_image_in_two_folders_counts_once_unless_they_differ(tmp_path):
    make_chestx(tmp_path)
    shutil.copytree(tmp_path / "ChestX" / "images", tmp_path / "ChestX" / "images_001" / "images")
    assert len(open_dataset("chestx", root=tmp_path)) == 8
    (tmp_path / "ChestX" / "images_001" / "images" / "00000008_000.png").write_bytes(b"another")
    with pytest.raises(DataError, match="chestx: 00000008_000.png: there more than once, and not the same"):
        open_dataset("chestx", root=tmp_path)


def test_no_image_of_a_class(tmp_path):
    make_chestx(tmp_path)
    path = tmp_path / "ChestX" / "Data_Entry_2017.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n00000003_000.png,No Finding,0,3,058Y,M,PA,1,1,1,1\n")
    with pytest.raises(DataError, match="chestx: 1 of 1 images left out, which are not of exactly one class"):
        open_dataset("chestx", root=tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P", "LA", "1"])
def test_pngs_of_every_mode_are_decoded(tmp_path, rng, mode):
    make_chestx(tmp_path)
    grey = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    rgb = np.repeat(grey[:, :, None], 3, 2)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256 + rng.integers(0, 256, (8, 8), dtype=np.uint16))
    elif mode in ("RGBA", "LA"):
        alpha = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
        image = Image.fromarray(np.concatenate([rgb, alpha] if mode == "RGBA" else [grey[:, :, None], alpha], 2))
    else:
        rgb = rgb if mode == "L" else np.where(rgb < 128, 0, 255).astype(np.uint8)
        image = Image.fromarray(rgb[:, :, 0]).convert(mode)
    image.save(tmp_path / "ChestX" / "images" / "00000001_000.png")
    dataset = open_dataset("chestx", root=tmp_path)
    np.testing.assert_array_equal(pixels_of(dataset.read(dataset.ids.index("00000001_000.png")), AS_IT_IS), rgb)


# The real subsets


@needs_shared
def test_the_real_isic_subset():
    dataset = open_dataset("isic", root=SHARED / "data")
    assert dataset.class_names == ISIC_CLASSES
    assert dataset.class_sizes == [45] * 7
    assert len(set(dataset.groups)) == 312
    (notice,) = dataset.notices
    assert notice.text.startswith("isic: a subset: 315 of 10,015 images")


@needs_shared
def test_the_real_chestx_subset():
    dataset = open_dataset("chestx", root=SHARED / "data")
    assert dataset.class_names == CHEST_CLASSES
    assert (len(dataset), dataset.class_sizes[4]) == (231, 7)
    assert [int(image[:8]) for image in dataset.ids] == [int(group) for group in dataset.groups]
    modes = set()
    for row in range(len(dataset)):
        pixels = pixels_of(dataset.read(row), Preprocessing(64, 64))
        assert pixels.shape == (64, 64, 3)
        assert (pixels == pixels[:, :, :1]).all()
        modes.add(Image.open(io.BytesIO(dataset.read(row))).mode)
    assert "RGBA" in modes


def test_the_table_of_chestx_may_be_of_2020_and_a_user_may_call_a_table_as_he_likes(tmp_path, monkeypatch):
    place = tmp_path / "ChestX"
    (place / "images").mkdir(parents=True)
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID"]
    for i, finding in enumerate(["Effusion", "Mass", "Mass"]):
        Image.new("L", (8, 8), i).save(place / "images" / f"{i}.png")
        lines.append(f"{i}.png,{finding},0,{i}")
    (place / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    assert open_dataset("chestx", root=tmp_path).class_sizes == [1, 2]
    odd = place / "table [1]*.csv"
    odd.write_text("path,label\nimages/0.png,a\nimages/1.png,b\n")
    assert open_dataset(str(odd)).class_sizes == [1, 1]


def test_two_tables_of_chestx_are_named(tmp_path):
    make_chestx(tmp_path)
    shutil.copy(tmp_path / "ChestX" / "Data_Entry_2017.csv", tmp_path / "ChestX" / "Data_Entry_2017_v2020.csv")
    message = (
        "chestx: 8 images are listed in more than one of Data_Entry_2017.csv, Data_Entry_2017_v2020.csv; leave one"
    )
    with pytest.raises(DataError, match=message):
        open_dataset("chestx", root=tmp_path)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_paths_as_windows_writes_them(table, newline):
    plain = open_dataset(table(OK))
    other = open_dataset(table(OK.replace("/", "\\").replace("\n", newline)))
    assert (other.ids, other.fingerprint, other.problems) == (plain.ids, plain.fingerprint, ())


def test_backslashes_that_are_part_of_names_stay(table, tmp_path):
    for name in ("a", "b"):
        draw(tmp_path / f"im\\{name}.png")
    assert open_dataset(table(OK.replace("/", "\\"))).ids == ("im\\a.png", "im\\b.png")


def test_a_file_that_several_patterns_of_a_card_fit_is_read_once(table, tmp_path):
    table(OK)
    found = open_table("mine", tmp_path, Table(files=("mine.csv", "*.csv", "m*.csv", "mine.csv")))
    assert (found.class_sizes, found.problems) == ([1, 1], ())


def test_a_pipe_in_place_of_a_table_is_not_waited_for(table, tmp_path):
    table(OK)
    os.mkfifo(tmp_path / "more.csv")
    with pytest.raises(DataError, match=r"more.csv: this file cannot be read: it is a pipe or a device"):
        open_table("mine", tmp_path, Table(files=("m*.csv",)))
