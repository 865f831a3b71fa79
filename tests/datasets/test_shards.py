"""Names of shards: which split a file is of, how its rows are numbered, in which order files come."""

import pytest

from fewshot_bn.datasets.shards import kind_of_shards, shards_of
from fewshot_bn.errors import DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def prefixes(folder, suffix=".x"):
    return {
        shard.path.relative_to(folder).as_posix(): (shard.prefix, shard.split) for shard in shards_of(folder, suffix)
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train-00000-of-00002.x", "test-00000-of-00001.x"], [("train/", 0), ("test/", 2)]),
        (["train-00000-of-00001-0a1b2c3d4e5f6071.x"], [("train/", 0)]),
        (["imagenet1k-train-0000.x", "imagenet1k-validation-0000.x"], [("train/", 0), ("val/", 1)]),
        (["data/training_set_01.x", "data/eval.x"], [("train/", 0), ("test/", 2)]),
        (["default/train/0000.x", "default/test/0000.x"], [("train/", 0), ("test/", 2)]),
        (["train/part-0000-abc.x"], [("train/", 0)]),
        (["cars-000000.x", "cars-000001.x"], [("", -1), ("", -1)]),
        (["00000.x", "00001.x"], [("", -1), ("", -1)]),
        (["train-0.x", "extra-0.x"], [("train/", 0), ("extra/", -1)]),
        (["train.x"], [("train/", 0)]),
        (["trainer-0.x"], [("", -1)]),
        (["train-test-0.x"], [("", -1)]),
    ],
)
def test_the_split_of_a_shard_is_in_its_name_or_folder(tmp_path, names, expected):
    assert prefixes(touch(tmp_path, *names)) == dict(zip(names, expected, strict=True))


def test_shards_are_sorted_by_number(tmp_path):
    names = [f"train-{k}.x" for k in (10, 9, 1)] + ["test-2.x"]
    assert [shard.path.name for shard in shards_of(touch(tmp_path, *names), ".x")] == [
        *("train-1.x", "train-9.x", "train-10.x"),
        "test-2.x",
    ]


def test_a_file_alone_has_the_same_name_as_in_a_folder(tmp_path):
    folder = touch(tmp_path, "train-00000-of-00002.x")
    assert shards_of(folder / "train-00000-of-00002.x", ".x") == shards_of(folder, ".x")


def test_patterns_choose_files(tmp_path):
    touch(tmp_path, "a/train-0.x", "b/train-0.x")
    assert len(shards_of(tmp_path, ".x", ["a/*.x"])) == 1
    with pytest.raises(DataError, match="there are no files c/\\*.x in this folder"):
        shards_of(tmp_path, ".x", ["c/*.x"])
    with pytest.raises(DataError, match="holds .x files of several datasets, in a, b; name one of these"):
        shards_of(tmp_path, ".x")


def test_a_folder_of_shards_is_told_from_class_folders(tmp_path):
    assert kind_of_shards(touch(tmp_path / "shards", "data/train-0.y", "assets/a.png"), (".x", ".y")) == ".y"
    assert kind_of_shards(touch(tmp_path / "deep", "a/b/c/train/0.x"), (".x", ".y")) == ".x"
    assert kind_of_shards(touch(tmp_path / "classes", "a/0.png", "b/0.png", "all.x"), (".x", ".y")) == ""
    assert kind_of_shards(touch(tmp_path / "hidden", ".cache/0.x"), (".x", ".y")) == ""
