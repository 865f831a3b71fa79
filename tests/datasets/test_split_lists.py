"""Lists of splits: written, read back as a list and as a dataset, and what may be wrong with them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.split_lists import splits_of_list, text_of
from fewshot_bn.datasets.splits import findings, numbers_of, split_of
from fewshot_bn.errors import DataError


@pytest.fixture
def dataset(image_folder):
    return open_dataset(str(image_folder))


def rows_of(dataset):
    names = [dataset.class_names[label] for label in dataset.labels.tolist()]
    return sorted(zip(dataset.ids, names, dataset.splits.tolist(), strict=True))


def write(path, *lines, header="path,label,split"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_list_gives_back_every_split_it_was_written_from(dataset, tmp_path, fresh_seed):
    rng = np.random.default_rng(fresh_seed)
    for n_kinds in (3, 4):  # all images, then some in no split
        splits = rng.integers(3 - n_kinds, 3, len(dataset))
        path = tmp_path / "list.csv"
        path.write_text(text_of(dataset, splits))
        assert splits_of_list(path, dataset).tolist() == splits.tolist()


def test_beside_the_images_a_list_is_a_dataset_of_the_same_images_labels_and_splits(dataset, image_folder, fresh_seed):
    split = split_of(dataset, fresh_seed)
    splits = numbers_of(split, len(dataset))
    (image_folder / "mine.csv").write_text(text_of(dataset, splits))
    table = open_dataset(str(image_folder / "mine.csv"))
    assert rows_of(table) == rows_of(replace(dataset, splits=splits))
    assert (table.problems, table.notices) == ((), ())
    again = split_of(table, fresh_seed)
    for part in ("train", "val", "test"):
        assert [table.ids[row] for row in getattr(again, part)] == [dataset.ids[row] for row in getattr(split, part)]


def test_groups_are_kept(dataset, image_folder):
    groups = tuple("ann" if row % 2 else f"({name})" for row, name in enumerate(dataset.ids))  # half have none
    (image_folder / "mine.csv").write_text(text_of(replace(dataset, groups=groups), np.full(29, 2)))
    table = open_dataset(str(image_folder / "mine.csv"))
    group_of = dict(zip(table.ids, table.groups, strict=True))
    assert [group_of[name] for name in dataset.ids] == list(groups)


def test_a_list_of_a_drawn_split_is_that_split(dataset, tmp_path):
    drawn = split_of(dataset, 3)
    path = tmp_path / "list.csv"
    path.write_text(text_of(dataset, numbers_of(drawn, len(dataset))))
    for seed in (3, 4):
        listed = split_of(dataset, seed, path)
        for part in ("train", "val", "test"):
            assert getattr(listed, part).tolist() == getattr(drawn, part).tolist()
        assert listed.official is False
        assert listed.origin == f"as {path} says"
    assert drawn.origin == "drawn with seed 3"


def test_a_list_comes_before_what_the_files_say(dataset, tmp_path):
    path = tmp_path / "list.csv"
    splits = np.arange(29) % 3
    path.write_text(text_of(dataset, splits))
    official = replace(dataset, splits=(splits + 1) % 3)
    assert split_of(official, 0).origin == "as the files say"
    assert split_of(official, 0, path).test.tolist() == np.flatnonzero(splits == 2).tolist()


def test_validation_images_are_drawn_from_the_training_images_of_a_list_without(dataset, tmp_path):
    splits = np.where(np.arange(29) % 4 == 0, 2, 0)
    path = tmp_path / "list.csv"
    path.write_text(text_of(dataset, splits))
    split, official = split_of(dataset, 5, path), split_of(replace(dataset, splits=splits), 5)
    assert split.val.tolist() == official.val.tolist()
    assert np.bincount(dataset.labels[split.val]).tolist() == [2, 1, 1]
    assert split.origin == f"as {path} says, validation images drawn with seed 5"
    assert official.origin == "as the files say, validation images drawn with seed 5"


def test_images_that_are_not_listed_take_no_part_and_classes_without_test_images_are_named(dataset, tmp_path):
    splits = np.tile([0, 1, 2, -1], 8)[:29]
    splits[(dataset.labels == 1) & (splits == 2)] = -1
    path = tmp_path / "list.csv"
    path.write_text(text_of(dataset, splits))
    split = split_of(dataset, 0, path)
    assert [rows.tolist() for rows in (split.train, split.val, split.test)] == [
        np.flatnonzero(splits == part).tolist() for part in (0, 1, 2)
    ]
    texts = [str(finding) for finding in findings(dataset, split)]
    assert texts == [
        f"shapes: {(splits < 0).sum()} of 29 images are in no split and take no part",
        "shapes: 1 class has no test images: c; means over classes are over the others",
    ]
    assert list(findings(dataset, split_of(dataset, 0))) == []


@pytest.mark.parametrize(
    "header",
    ["path,split", "image,split", "split,file_name", "path,label,split,note", "Path,Split", "path,class,species,split"],
)
def test_a_list_needs_path_and_split_alone_and_paths_may_be_written_in_any_way(dataset, image_folder, tmp_path, header):
    first, second, third, fourth, *_ = dataset.ids
    forms = {f"./{first}": "Training", second.replace("/", "\\"): "valid"}
    forms |= {f'"{(image_folder / third).absolute()}"': "test", fourth.replace("/", "//"): "TEST"}
    cells = {"label": "a, b", "note": "x", "class": "7", "species": ""}
    lines = []
    for path, split in forms.items():
        own = {"path": path, "image": path, "file_name": path, "split": split, **cells}
        lines.append("\t".join(own[column.lower()].strip('"') for column in header.split(",")))
    path = write(tmp_path / "list.csv", *lines, header=header.replace(",", "\t"))
    assert splits_of_list(path, dataset).tolist() == [0, 1, 2, 2, *[-1] * 25]


def test_files_of_a_table_are_found_by_their_paths_too(tmp_path):
    folder = tmp_path / "ChestX"
    (folder / "images").mkdir(parents=True)
    for k in range(4):
        (folder / "images" / f"{k}.png").write_text("image")
    lines = [f"{k}.png,{'Mass' if k % 2 else 'Nodule'},{k}" for k in range(4)]
    write(folder / "Data_Entry_2017.csv", *lines, header="Image Index,Finding Labels,Patient ID")
    dataset = open_dataset("chestx", root=tmp_path)
    assert dataset.ids == ("1.png", "3.png", "0.png", "2.png")
    path = write(tmp_path / "list.csv", "images/3.png,test", "0.png,val", header="path,split")
    assert splits_of_list(path, dataset).tolist() == [-1, 2, 1, -1]


A, B = '"a, b/0.png","a, b"', '"a, b/1.png","a, b"'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "names no image; lines of path, label and split are needed"),
        ([f"{A},trian", f"{B},", f"{B},test"], "list.csv line 2: 'trian', list.csv line 3: '': the split is none of"),
        ([f"{A},train", "c/99.png,c,test"], r"1 of 2 images are not in shapes: c/99.png; its images are called like a"),
        ([f"{A},train", "c/99.png,c,test"], "get these images or remove their lines"),
        (["0.png,c,test"], r"1 of 1 images are not in shapes: 0.png; .* like a, b/0.png; paths are those of the data"),
        ([f"{A},train", f"{A},train"], "a, b/0.png: listed more than once; leave one line for each image"),
        ([f"{A},train", '"./a, b/0.png","a, b",test'], "a, b/0.png: listed more than once"),
        ([f"{A},train", "c/0.png,d e,test"], "1 labels are not those of shapes: list.csv line 3: c/0.png is of class "),
        ([f"{A},train,more"], r"line 2 has 4 cells, the header 3"),
    ],
)
def test_a_wrong_list_is_one_clear_error(dataset, tmp_path, lines, message):
    path = write(tmp_path / "list.csv", *lines)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{message}"):
        split_of(dataset, 0, path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,label", "has no column 'split', one is needed; its columns, separated by commas, are 'path', 'label'"),
        ("split", "has no column 'path'"),
        ("image,file,split", "has no column 'path', but 'image' and 'file'; call the right one so"),
    ],
)
def test_a_list_without_its_columns(dataset, tmp_path, header, message):
    with pytest.raises(DataError, match=message):
        split_of(dataset, 0, write(tmp_path / "list.csv", "x,y,z", header=header))


def test_a_list_that_is_not_there(dataset, tmp_path):
    with pytest.raises(DataError, match="none.csv: this file cannot be read: No such file"):
        split_of(dataset, 0, tmp_path / "none.csv")


def test_a_list_without_test_images_or_without_training_images_of_a_class(dataset, tmp_path):
    def listed(splits):
        path = tmp_path / "list.csv"
        path.write_text(text_of(dataset, np.asarray(splits)))
        return path

    with pytest.raises(DataError, match="list.csv: has training and validation images, but no test images.* --split"):
        split_of(dataset, 0, listed(np.arange(29) % 2))
    some = np.arange(29) % 3
    without = np.where((dataset.labels == 1) & (some == 0), 1, some)
    with pytest.raises(DataError, match=r"list.csv: class 'c' has no training images, so they could not be told"):
        split_of(dataset, 0, listed(without))
    with pytest.raises(DataError, match=r"list.csv: class 'c' has no training images"):
        split_of(dataset, 0, listed(np.where(dataset.labels == 1, -1, some)))
    with pytest.raises(DataError, match=r"list.csv: classes 'c', 'd e' have no training images"):
        split_of(dataset, 0, listed(np.where(dataset.labels >= 1, 2, some)))
    one = np.full(29, 2)
    one[np.unique(dataset.labels, return_index=True)[1]] = 0
    with pytest.raises(DataError, match=r"list.csv: class 'a, b' has 1 training images left.* or a split val"):
        split_of(dataset, 0, listed(one))


@pytest.mark.parametrize("name", ["c/ 0.png ", "c/a\nb.png", "c/\udcff.png", " c.png"])
def test_names_that_a_table_does_not_give_back_are_refused(dataset, name):
    odd = replace(dataset, ids=(*dataset.ids[:-1], name))
    with pytest.raises(DataError, match="cannot stand in a table: it begins or ends with a space, or holds a line end"):
        text_of(odd, np.zeros(29, np.int64))
    assert "0.png" in text_of(odd, np.array([0] * 28 + [-1]))
