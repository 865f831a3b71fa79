import os

import pytest

from fewshot_bn.datasets.dataset import Finding
from fewshot_bn.datasets.rows import Row, assemble, repeated_ids
from fewshot_bn.errors import DataError

ROWS = [
    Row("b/2.png", "b", path="x/2.png", n_bytes=7, modified_ns=1),
    Row("b/1.png", "b", group="g", split=2, path="x/1.png", n_bytes=8, modified_ns=2),
    Row("a/1.png", "a", path="y/1.png", n_bytes=9, modified_ns=3),
]


def test_rows_are_sorted_by_class_and_id_and_classes_without_any_left_out(tmp_path):
    dataset = assemble("mine", tmp_path, ["c", "b", "a"], ROWS)
    assert (dataset.class_names, dataset.labels.tolist()) == (("b", "a"), [0, 0, 1])
    assert dataset.ids == ("b/1.png", "b/2.png", "a/1.png")
    assert dataset.read.paths == ("x/1.png", "x/2.png", "y/1.png")
    assert dataset.splits.tolist() == [2, -1, -1]
    assert dataset.groups == ("g", "(b/2.png)", "(a/1.png)")
    assert dataset.fingerprint == "107818003b0fbee0f63d0a5bfd44f99e8827880bc6038d058a06a8d22617b834"


def test_what_no_row_says_is_not_there(tmp_path):
    dataset = assemble("mine", tmp_path, ["a", "b"], [ROWS[0], ROWS[2]])
    assert (dataset.splits, dataset.groups, dataset.notices, dataset.problems) == (None, None, (), ())


def test_a_file_written_again_changes_the_stamp_alone(tmp_path):
    again = [*ROWS[:2], Row("a/1.png", "a", path="y/1.png", n_bytes=9, modified_ns=4)]
    before, after = (assemble("mine", tmp_path, ["b", "a"], rows) for rows in (ROWS, again))
    assert before.fingerprint == after.fingerprint
    assert before.stamp != after.stamp


def test_empty_files_are_a_problem_with_all_its_cases(tmp_path):
    empty = [Row(f"b/{k}.png", "b") for k in range(4)]
    (problem,) = assemble("mine", tmp_path, ["a", "b"], [ROWS[2], *empty], problems=[]).problems
    text = f"b/0.png, b/1.png, b/2.png and 1 more in {tmp_path}: empty (0 bytes); get these files again or remove them"
    assert problem == Finding(text, tuple(row.id for row in empty))


def test_one_class_is_too_few(tmp_path):
    with pytest.raises(DataError, match="mine: 1 classes found in .*, at least 2 are needed"):
        assemble("mine", tmp_path, ["a", "b"], ROWS[:2])


def test_a_row_keeps_what_it_knows_when_its_file_is_found(tmp_path):
    (tmp_path / "1.png").write_bytes(b"123")
    os.utime(tmp_path / "1.png", ns=(5, 7))
    row = Row("1", "a", "g", 1, "a.csv line 2").located("1.png", (tmp_path / "1.png").stat())
    assert row == Row("1", "a", "g", 1, "a.csv line 2", "1.png", 3, 7)


def test_images_that_are_listed_twice_are_named_once():
    assert repeated_ids(Row(name, "a") for name in "abcacab") == ("a", "b", "c")
    assert repeated_ids(ROWS) == ()
