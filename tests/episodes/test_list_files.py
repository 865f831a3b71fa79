import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fewshot_bn.datasets import open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.episodes import EpisodeShape, Plan, frozen_list, make_plan, read_list, sample, write_list
from fewshot_bn.episodes.list_files import COLUMNS, FROZEN
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.files import paths

SHAPE = EpisodeShape(2, 3, 4)
FROZEN_FOR = ("chestx", "cropdisease", "eurosat", "isic")


@pytest.fixture
def dataset(image_folder):
    return open_dataset(str(image_folder))


@pytest.fixture
def episodes(dataset):
    return Plan(seed=7).draw(dataset, SHAPE, 5)


def write(path, episodes, dataset, *, ranks=False):
    classes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
    write_list(path, episodes, classes, ids=None if ranks else dataset.ids, drawn={"dataset": dataset.name, "seed": 7})
    return path


@pytest.mark.parametrize(("name", "ranks"), [("a.jsonl", False), ("a.jsonl", True), ("a.csv", False), ("A.CSV", False)])
def test_what_is_written_is_read_again(tmp_path, dataset, episodes, name, ranks):
    listed = read_list(write(tmp_path / name, episodes, dataset, ranks=ranks))
    assert listed.episodes(dataset).fingerprint == episodes.fingerprint
    assert (listed.shape, list(listed.problems())) == (SHAPE, [])


def test_fewer_shots_queries_and_episodes_are_the_front_of_the_list(tmp_path, dataset, episodes):
    listed = read_list(write(tmp_path / "a.jsonl", episodes, dataset))
    found = listed.episodes(dataset, EpisodeShape(2, 1, 2), 3)
    assert found.fingerprint == Plan(seed=7).draw(dataset, EpisodeShape(2, 1, 2), 3).fingerprint


def test_the_table_is_of_use_without_this_package(tmp_path, dataset, episodes, image_folder):
    with write(tmp_path / "a.csv", episodes, dataset).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == 5 * 2 * 7
    for line in lines:
        assert (image_folder / line["file"]).is_file()
        assert line["file"].startswith(line["class"] + "/")
    first = [line for line in lines if (line["episode"], line["role"], line["way"]) == ("0", "query", "1")]
    assert [dataset.ids[row] for row in episodes.query[0, 1]] == [line["file"] for line in first]


def test_a_list_is_run_by_the_plan(tmp_path, dataset, episodes):
    path = write(tmp_path / "a.csv", episodes, dataset)
    plan = make_plan(str(path), seed=0, by_group=False)
    assert plan.draw(dataset, SHAPE).fingerprint == episodes.fingerprint
    assert plan.first(dataset, SHAPE, 99).fingerprint == episodes.fingerprint
    assert plan.key["episodes"]["kind"] == "list"
    assert plan.key != make_plan(str(write(tmp_path / "b.csv", episodes[:3], dataset)), seed=0, by_group=False).key


def rewritten(change):
    """A table with `change` made to the cells of every line."""

    def of(text):
        lines = list(csv.reader(text.splitlines()))
        return "".join(",".join(cells) + "\n" for cells in [lines[0], *map(change, lines[1:])])

    return of


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
        lambda text: text.replace(",", ";").encode("utf-8-sig"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.replace("\n", ",,\n").encode() + b",,,,,,,\n\n",
        lambda text: rewritten(lambda c: [c[0] + ".0", c[1] + ".0", *c[2:4], c[4] + ".0", c[5]])(text).encode(),
        lambda text: "".join(sorted(text.splitlines(keepends=True), reverse=True)).encode(),
    ],
    ids=["mark and CRLF", "semicolons", "tabs in UTF-16", "empty columns and lines", "numbers of pandas", "sorted"],
)
def test_a_table_saved_by_a_spreadsheet_is_the_same_list(tmp_path, image_folder, saved):
    (image_folder / "a, b").rename(image_folder / "a b")
    dataset = open_dataset(str(image_folder))
    episodes = Plan(seed=7).draw(dataset, SHAPE, 5)
    path = write(tmp_path / "a.csv", episodes, dataset)
    path.write_bytes(saved(path.read_text()))
    assert read_list(path).episodes(dataset).fingerprint == episodes.fingerprint


def test_json_lines_with_a_mark_in_front_are_the_same_list(tmp_path, dataset, episodes):
    path = write(tmp_path / "a.jsonl", episodes, dataset)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_list(path).episodes(dataset).fingerprint == episodes.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.rindex("\n4,0,")] + "\n", "episode 4 has no query images in way 1; was the file cut"),
        (lambda text: text.replace(",query,", ",test,"), "line .*: the role is 'test', support or query is needed"),
        (lambda text: text.replace("episode,", "task,"), "place, file are needed, its first line is 'task,way,class"),
    ],
)
def test_tables_that_are_not_whole(tmp_path, dataset, episodes, change, message):
    path = write(tmp_path / "a.csv", episodes, dataset)
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        read_list(path)


def test_a_table_by_another_name_and_lists_of_other_tools_are_told(tmp_path, dataset, episodes):
    text = write(tmp_path / "a.csv", episodes, dataset).read_text()
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=r"it is not JSON lines \(Expecting value\); a table needs the suffix .csv"):
        read_list(tmp_path / "a.txt")
    (tmp_path / "a.json").write_text('[{"support": [], "query": []}]')
    with pytest.raises(DataError, match="its first line is no header that names the format 'fewshot_bn episodes 1'"):
        read_list(tmp_path / "a.json")


def test_plans_that_make_no_sense(tmp_path):
    with pytest.raises(
        UsageError, match="--episodes 'rnadom' is neither random nor disjoint nor meta-dataset nor a file"
    ):
        make_plan("rnadom", seed=0, by_group=False)
    (tmp_path / "a.csv").write_text("nothing")
    with pytest.raises(DataError, match="not a list of episodes, or a damaged one: the columns episode, way"):
        make_plan(str(tmp_path / "a.csv"), seed=0, by_group=False)


def test_plain_random_episodes_have_no_plan_in_their_identity():
    assert Plan().key == {}
    assert Plan(by_group=True).key != Plan(kind="disjoint").key


@pytest.mark.parametrize(
    ("shape", "n", "message"),
    [
        (EpisodeShape(3, 1, 1), None, "holds 2-way episodes of up to 3 support and 4 query images, not 3-way 1-shot"),
        (EpisodeShape(2, 4, 1), None, "not 2-way 4-shot 1-query ones"),
        (SHAPE, 6, "holds 5 episodes, not 6; lower --n-episodes"),
    ],
)
def test_what_a_list_does_not_hold(tmp_path, dataset, episodes, shape, n, message):
    listed = read_list(write(tmp_path / "a.jsonl", episodes, dataset))
    with pytest.raises(UsageError, match=message):
        listed.episodes(dataset, shape, n)


def test_ranks_hold_for_the_full_data_only(tmp_path, dataset, episodes, image_folder):
    listed = read_list(write(tmp_path / "a.jsonl", episodes, dataset, ranks=True))
    (image_folder / "c" / "3.png").unlink()
    with pytest.raises(DataError, match="ranks hold for the full data only; images that are there: c 8 of 9; draw"):
        listed.episodes(open_dataset(str(image_folder)))
    with pytest.raises(UsageError, match=r"a table names files; ranks go into JSON lines \(.jsonl\)"):
        write(tmp_path / "a.csv", episodes, dataset, ranks=True)


def test_images_that_are_gone_or_of_another_class_are_named(tmp_path, dataset, episodes, image_folder):
    listed = read_list(write(tmp_path / "a.jsonl", episodes, dataset))
    name = dataset.ids[episodes.query[0, 0, 0]]
    (image_folder / name).unlink()
    smaller = open_dataset(str(image_folder))
    assert [image.split(" (")[0] for image in listed.absent(smaller)] == [name]
    with pytest.raises(DataError, match="not in the data, whose images are called like a, b/0.png"):
        listed.episodes(smaller)


def spoil(path, change):
    header, *lines = path.read_text().splitlines()
    content = [json.loads(header), *map(json.loads, lines)]
    change(content)
    path.write_text("".join(json.dumps(line) + "\n" for line in content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[1]["support"][0].__setitem__(1, c[1]["support"][0][0]), "episode 0: an image occurs twice"),
        (lambda c: c[3]["query"][1].__setitem__(0, c[3]["support"][1][0]), "episode 2: an image occurs twice"),
        (lambda c: c[2]["classes"].__setitem__(1, c[2]["classes"][0]), "episode 1: a class occurs twice"),
        (lambda c: c[2]["query"][0].pop(), "episode 1: its classes or images are not as many as those of the first"),
    ],
)
def test_lists_that_are_no_episodes(tmp_path, dataset, episodes, change, message):
    path = write(tmp_path / "a.jsonl", episodes, dataset)
    spoil(path, change)
    with pytest.raises(DataError, match=message):
        read_list(path).episodes(dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop(), "4 of 5 episodes are there"),
        (lambda c: c[0].pop("images"), "not a list of episodes, or a damaged one: 'images'"),
        (lambda c: c[0].update(format="x"), "its format is 'x', this version reads 'fewshot_bn episodes 1'"),
        (lambda c: c[0].update(images="rank"), "its images are not all of the kind that its header says: rank"),
        (lambda c: c[1].update(classes=[1, 2]), "not a list of episodes, or a damaged one"),
        (lambda c: c[1].update(classes=[["c"], "d"]), "not a list of episodes, or a damaged one"),
        (lambda c: c[0].update(classes={"a": "b"}), "its classes are not names with numbers of images"),
        (lambda c: c[1].pop("query"), "not a list of episodes, or a damaged one: 'query'"),
        (lambda c: c.__setitem__(slice(1, None), []), "0 of 5 episodes are there"),
        (lambda c: c.__setitem__(0, [1]), "not a list of episodes, or a damaged one"),
    ],
)
def test_damaged_lists(tmp_path, dataset, episodes, change, message):
    path = write(tmp_path / "a.jsonl", episodes, dataset)
    spoil(path, change)
    with pytest.raises(DataError, match=message):
        read_list(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'a,"b\n"c"d', b"[]\n", b"null\n", b"{}\n{}\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_files_that_are_no_lists(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: not a list of episodes, or a damaged one"):
        read_list(tmp_path / name)
    with pytest.raises(DataError, match="this list cannot be read: No such file"):
        read_list(tmp_path / "none.jsonl")


def test_a_list_that_cannot_be_written(tmp_path, dataset, episodes):
    with pytest.raises(DataError, match="this list cannot be written: No such file or directory"):
        write(tmp_path / "no" / "a.jsonl", episodes, dataset)


@pytest.mark.parametrize("name", FROZEN_FOR)
def test_the_frozen_lists_are_what_the_sampler_draws_from_the_published_counts(name):
    listed = frozen_list(name)
    sizes = read_dataset_card(shipped_cards()[name]).classes
    assert listed.class_sizes == sizes
    assert (len(listed.listed), listed.shape) == (600, EpisodeShape(5, 50, 15))
    drawn = sample(list(sizes.values()), listed.shape, seed=0, n_episodes=600)
    first = dict(zip(sizes, np.concatenate([[0], np.cumsum(list(sizes.values()))]), strict=False))
    for role, rows in (("support", drawn.support), ("query", drawn.query)):
        found = [
            [first[k] + np.array(own) for k, own in zip(e.classes, getattr(e, role), strict=True)]
            for e in listed.listed
        ]
        np.testing.assert_array_equal(np.array(found), rows)


@pytest.mark.parametrize("n_support", [1, 5, 20])
def test_fewer_shots_are_prefixes_of_the_frozen_lists(n_support):
    sizes = read_dataset_card(shipped_cards()["isic"]).classes
    whole, fewer = (
        sample(list(sizes.values()), EpisodeShape(5, n, 15), seed=0, n_episodes=600) for n in (50, n_support)
    )
    np.testing.assert_array_equal(whole.support[..., :n_support], fewer.support)
    np.testing.assert_array_equal(whole.query, fewer.query)


HASHES = {
    "chestx": "b2ed1400f41cd0a9893fa787211eb13900a0e7fbd762aa11b7f1b65434de1cb6",
    "cropdisease": "a3a216bb17c84f91d99f7a48b6db298439509554d926e15b145a4001ece28ccf",
    "eurosat": "b98b5c0f11c0281748fd921b49b0c785388836d9ac9a3a2c72ebdc92799d4323",
    "isic": "71c42a2d8a767a830f3d25c517cc4adefc9032774e0ac743fdb94054f1ab6181",
}


@pytest.mark.parametrize("name", FROZEN_FOR)
def test_the_frozen_lists_have_not_changed(name):
    assert frozen_list(name).fingerprint == HASHES[name]


def test_a_dataset_without_a_frozen_list():
    with pytest.raises(
        UsageError, match="digits has no frozen list of episodes; these have: chestx, cropdisease, eurosat"
    ):
        frozen_list("digits")
    assert sorted(path.parent.name for path in paths.shipped("episodes").glob(f"*/{FROZEN}")) == list(FROZEN_FOR)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("[" * 100_000), "its brackets are nested too deep"),
        (os.mkfifo, "this list cannot be read: it is a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "this list cannot be read: it is a pipe or a device"),
        (
            lambda path: path.touch() or os.truncate(path, 2**40),
            "1,099,511,627,776 bytes, at most 268,435,456 are read",
        ),
    ],
    ids=["nested", "pipe", "zeros", "huge"],
)
def test_what_is_no_list_is_refused_soon(tmp_path, make, message):
    make(tmp_path / "list.jsonl")
    with pytest.raises(DataError, match=message):
        read_list(tmp_path / "list.jsonl")


def test_a_list_is_not_written_over_a_folder(tmp_path):
    episodes = sample([9] * 6, EpisodeShape(2, 1, 1), seed=0, n_episodes=1)
    for folder in (tmp_path, Path("/")):
        with pytest.raises(DataError, match="it is a folder; name a file in it"):
            write_list(folder, episodes, {}, ids=None, drawn={})
