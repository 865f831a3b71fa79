"""The verb `data split`, and --split of the many-shot regime, in this process."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from reference.commands import assert_refused

from fewshot_bn.data import main as data
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import split_of
from fewshot_bn.eval import main
from fewshot_bn.results.many_shot_files import read_many_shot

FEW = ("--set", "lr.n_values=3")


def run(*arguments, dataset="shapes"):
    return main(["--dataset", dataset, "--model", "card.toml", "--regime", "many-shot", *FEW, *arguments])


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder):
    return {path.name: read_many_shot(path) for path in folder.glob("*.json")}


def test_the_drawn_split_is_written_and_a_run_by_it_is_the_run_without_it(here, capsys):
    assert data(["split", "shapes", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    assert "17 training, 6 validation and 6 test images, drawn with seed 2, are in shapes_split_seed2.csv" in printed
    dataset = open_dataset("shapes")
    split = split_of(dataset, 2)
    rows = table("shapes_split_seed2.csv")
    assert [row["path"] for row in rows] == list(dataset.ids)
    assert [row["label"] for row in rows] == [dataset.class_names[label] for label in dataset.labels]
    assert [k for k, row in enumerate(rows) if row["split"] == "test"] == split.test.tolist()
    assert run("--seed", "2") == 0
    first = capsys.readouterr()
    assert run("--seed", "2", "--split", "shapes_split_seed2.csv") == 0
    again = capsys.readouterr()
    assert again.out == first.out  # the same key, so the same file
    assert "6 test images, as shapes_split_seed2.csv says; " in again.err
    assert run("--split", "shapes_split_seed2.csv", "--output", "other") == 0
    (own,), (other,) = results(here / "results").values(), results(here / "other").values()
    assert (own.predictions, own.path) == (other.predictions, other.path)
    assert own.key["split"] == other.key["split"]


def test_the_command_that_it_names_works(here, capsys):
    assert data(["split", "shapes", "--output", "mine.csv"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run it: ")]
    assert line == "run it: python -m fewshot_bn.eval --regime many-shot --dataset shapes --split mine.csv"
    assert main([*line.split()[5:], "--model", "card.toml", *FEW]) == 0


def test_a_number_of_each_class_is_drawn_instead(here, capsys):
    assert data(["split", "shapes", "--per-class", "5", "--seed", "1"]) == 0
    line, _ = capsys.readouterr().out.splitlines()
    path = "shapes_split_5-per-class_seed1.csv"
    assert line == f"12 training, 3 validation and 14 test images, 5 of each class drawn with seed 1, are in {path}"
    assert run("--split", path) == 0
    assert f"12 training, 3 validation and 14 test images, as {path} says" in capsys.readouterr().err


def test_the_split_of_the_files_is_written(here, capsys):
    for name in ("train", "val", "test"):
        shutil.copytree(here / "shapes", here / "parted" / name)
    assert data(["split", "parted"]) == 0
    assert "29 training, 29 validation and 29 test images, as the files say, are in" in capsys.readouterr().out
    rows = table("parted_split_seed0.csv")
    assert len(rows) == 87
    assert all(row["split"] == row["path"].partition("/")[0] for row in rows)


def test_what_a_list_says_is_what_is_evaluated_and_the_rest_is_said(here, capsys):
    dataset = open_dataset("shapes")
    splits = ["train", "test", "", "train"] * 8
    lines = [f'"{name}",{split}' for name, split in zip(dataset.ids, splits, strict=False) if split]
    (here / "mine.csv").write_text("\n".join(["path,split", *lines]))
    assert run("--split", "mine.csv") == 0
    said = capsys.readouterr().err
    test = np.flatnonzero(np.array(splits[:29]) == "test")
    assert f"{len(test)} test images, as mine.csv says, validation images drawn with seed 0;" in said
    assert "note: shapes: 7 of 29 images are in no split and take no part" in said
    (result,) = results(here / "results").values()
    assert result.test["top-1"] == np.mean(np.array(result.predictions) == dataset.labels[test])
    assert result.key["split"]["official"] is False
    assert result.key["split"]["train"] + result.key["split"]["val"] == splits[:29].count("train")


def copied(here):
    """A copy of a training image among the test images, of another class, and one among the validation images."""
    for number, name in enumerate(("train", "val", "test")):
        for path in sorted((here / "shapes").glob(f"*/[{number}{number + 3}].png")):
            (here / "parted" / name / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, here / "parted" / name / path.parent.name)
    shutil.copy(here / "parted" / "train" / "c" / "0.png", here / "parted" / "test" / "d e" / "x.png")
    shutil.copy(here / "parted" / "train" / "c" / "3.png", here / "parted" / "val" / "c" / "x.png")


def test_images_on_both_sides_are_said_and_with_strict_an_error(here, own_cache, capsys):
    copied(here)
    for _ in range(2):  # the second time as it was kept
        assert run(dataset="parted") == 0
        notes = [line for line in capsys.readouterr().err.splitlines() if "byte for byte" in line]
        assert notes == [
            "note: parted: 1 of 7 test images are also among the training and validation images, and 1 of 7 validation "
            "images among the training images, byte for byte: train/c/0.png (train) = test/d e/x.png (test), "
            "train/c/3.png (train) = val/c/x.png (val); scores on these say nothing of new images"
        ]
    assert len(list((own_cache / "copies").iterdir())) == 1
    assert run("--strict", dataset="parted") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: parted: 1 of 7 test images are also among the training and validation images")
    assert run("--strict") == 0


def test_without_caches_nothing_is_kept(here, own_cache):
    copied(here)
    assert run("--no-store", "--no-feature-cache", dataset="parted") == 0
    assert list(own_cache.iterdir()) == []


LIST = "path,label,split\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "none.csv"], "none.csv: this file cannot be read: No such file"),
        (["--split", "."], r"\.: this file cannot be read"),
        (
            ["--split", "mine.csv"],
            r"mine.csv: 1 of 1 images are not in shapes: x.png; its images are called like a, b/",
        ),
        (["--split="], "--split is given ''; give it a value or leave it out"),
        (["--split", "mine.csv", "--regime", "few-shot"], "--split belongs to --regime many-shot"),
    ],
)
def test_bad_lists_are_one_clear_line_and_status_2(here, capsys, arguments, message):
    (here / "mine.csv").write_text(LIST + "x.png,c,test\n")
    assert_refused((run(*arguments), *capsys.readouterr()), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"required: NAME\|PATH"),
        (["shaps"], "unknown dataset 'shaps'"),
        (["eurosat"], "eurosat: no data found"),
        (["shapes", "--seed", "-1"], "argument --seed: '-1' is not a whole number of at least 0"),
        (["shapes", "--per-class", "1"], "argument --per-class: '1' is not a whole number of at least 2"),
        (["shapes", "--per-class", "8"], "shapes: class 'd e' has 8 images, too few for 8 .*; lower --per-class"),
        (["shapes", "--output", "mine.txt"], "--output mine.txt: a list of a split is a CSV table"),
        (["shapes", "--output", "no/such/list.csv"], "list.csv: this list cannot be written: No such file"),
        (["shapes", "--output", "folder.csv"], "folder.csv: this list cannot be written: it is a folder"),
        (["./table.csv", "--output", "table.csv"], "--output table.csv: is the dataset itself"),
        (["two"], "two: class 'b' has 1 training images left, too few .* at least 3 images of each class"),
        (["shapes/c"], "0 class folders found, at least 2 are needed"),
    ],
)
def test_a_split_that_cannot_be_written_is_one_clear_line(here, capsys, arguments, message):
    (here / "folder.csv").mkdir()
    for name in ("a/0", "a/1", "a/2", "b/0", "b/1"):
        (here / "two" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "shapes" / "c" / "0.png", here / "two" / f"{name}.png")
    rows = [f"two/{k}.png,{k[0]},train" for k in ("a/0", "a/1", "b/0", "b/1")]
    text = LIST + "\n".join([*rows, "two/a/2.png,a,test"])
    (here / "table.csv").write_text(text)
    before = sorted(here.iterdir())
    assert data(["split", *arguments]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert re.search(message, printed.err)
    assert printed.out == ""
    assert sorted(here.iterdir()) == before
    assert (here / "table.csv").read_text() == text
