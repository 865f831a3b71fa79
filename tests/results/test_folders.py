import json
import shutil
from dataclasses import fields

import pytest
from reference.ranked import family, many_shot, result_of, write, write_split

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.results.folders import BackboneId, find_results
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result


def test_folders_are_searched_and_files_taken_once(tmp_path):
    one = write(tmp_path / "a" / "b", result_of("lr", "net", [3, 4]))
    two = write_split(tmp_path / "a", many_shot("lr", "net", 0.5))
    other = write(tmp_path, result_of("ft", "net", [3, 4]))
    found, notes = find_results([tmp_path / "a", one, one.parent / ".." / "b", other])
    assert notes == []
    assert {one.path.name: type(one.result) for one in found} == {
        one.name: Result,
        two.name: ManyShotResult,
        other.name: Result,
    }
    assert {(one.mode, one.backbone) for one in found} == {
        ("lr", BackboneId("net", "net.pth", "f-net")),
        ("ft", BackboneId("net", "net.pth", "f-net")),
    }
    assert len({one.task for one in found}) == 2  # few shots, and many


@pytest.mark.parametrize(
    "parts",
    [{"shape": {"n_support": 5}}, {"seed": 1}, {"dataset": {"fingerprint": "e"}}, {"episodes": {"kind": "disjoint"}}],
    ids=lambda parts: next(iter(parts)),
)
def test_other_episodes_are_another_task(tmp_path, parts):
    write(tmp_path / "a", result_of("lr", "net", [3]))
    key_parts = {"episodes": "e"} if "episodes" in parts else {}
    made = result_of("lr", "net", [3], **{**parts, **key_parts})
    if "episodes" in parts:
        made.key["episodes"] = {"kind": "disjoint", "by_group": False}
    write(tmp_path / "b", made)
    found, _ = find_results([tmp_path])
    assert len({one.task for one in found}) == 2


def test_another_mode_backbone_and_preprocessing_are_the_same_task(tmp_path):
    for i, made in enumerate(
        [result_of("lr", "net", [3]), result_of("ft", "other", [3], preprocessing={"crop_px": 64})]
    ):
        write(tmp_path / str(i), made)
    found, _ = find_results([tmp_path])
    assert len({one.task for one in found}) == 1


def test_what_is_no_whole_result_is_passed_over_and_said(tmp_path):
    write(tmp_path, result_of("lr", "net", [3]))
    write(tmp_path, result_of("ft", "net", [3], shard="1/2"))
    write(tmp_path / ".hidden", result_of("bn", "net", [3]))
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "folder.json").mkdir()
    found, notes = find_results([tmp_path])
    assert [one.mode for one in found] == ["lr"]
    assert len(notes) == 2
    assert notes[0] == f"left out, as they are no results: {tmp_path / 'list.json'}, {tmp_path / 'package.json'}"
    assert "left out, as they are shards, which their command without --shard merges: " in notes[1]


def damaged(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["identity"]["backbone"].pop("fingerprint"),
            "does not say what it is of: its key has no 'fingerprint'; move it",
        ),
        (
            lambda c: c["identity"]["backbone"].update(weights=3),
            "does not say what it is of: its key has names that are no texts",
        ),
        (lambda c: c["identity"]["dataset"].pop("fingerprint"), "does not say what it is of"),
        (
            lambda c: c["identity"]["adapter"].update(settings=[]),
            "does not say what it is of: .* or settings that are none",
        ),
        (lambda c: c.update(format=9), "is of format 9"),
        (lambda c: c.update(format="many-shot 9"), "is of another format than many-shot 1"),
        (lambda c: c.update(format=None), "not a result file, or a damaged one|is of format None"),
        (lambda c: c.update(correct=[99]), "damaged: its episodes do not fit together"),
        (
            lambda c: c.update(correct=[], converged=[], steps=[], runs=[], summary={}, checksum=None),
            "holds no episode",
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, change, message):
    path = write(tmp_path, result_of("lr", "net", [3]))
    damaged(path, change)
    with pytest.raises(ResultError, match=rf"{path.name}: {message}"):
        find_results([tmp_path])


def test_half_a_file_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path, result_of("lr", "net", [3]))
    path.write_text(path.read_text()[:50])
    with pytest.raises(ResultError, match=rf"{path.name}: not a whole result file"):
        find_results([tmp_path])


def test_a_named_file_must_be_a_result(tmp_path):
    (tmp_path / "package.json").write_text('{"name": "x"}')
    with pytest.raises(ResultError, match=r"package\.json: is no result file; name those that"):
        find_results([tmp_path / "package.json"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: there is no such file or folder"),
        ("empty", r"no result file \(\*\.json\) in .*empty; name the --output folder"),
        ("shards", "no result file .* in .*shards; .*left out, as they are shards"),
    ],
)
def test_without_results_it_says_where_none_are(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "shards", result_of("ft", "net", [3], shard="1/2"))
    with pytest.raises(ResultError, match=message):
        find_results([tmp_path / name])


def test_settings_that_were_added_later_have_their_defaults(tmp_path):
    write(tmp_path, result_of("bn", "net", [3], settings={"steps": 50}))
    write(tmp_path, result_of("mine", "net", [3], settings={"steps": 50}))
    bn, mine = sorted(find_results([tmp_path])[0], key=lambda one: one.mode)
    assert bn.settings["steps"] == 50
    assert len(bn.settings) > 1
    assert mine.settings == {"steps": 50}


def test_settings_of_many_shot_modes_have_their_own_defaults(tmp_path):
    made = many_shot("ft", "net", 0.5)
    made.key["adapter"]["settings"] = {"steps": 5000}
    write_split(tmp_path, made)
    (found,) = find_results([tmp_path])[0]
    defaults = {field.name: field.default for field in fields(CLASSIFIERS["ft"]) if field.metadata.get("later")}
    assert found.settings == {**defaults, "steps": 5000}
    assert defaults


def test_the_order_is_that_of_paths(tmp_path):
    for made in family(5, 2):
        write(tmp_path, made)
    shutil.copytree(tmp_path, tmp_path / "again")
    paths = [one.path for one in find_results([tmp_path / "again", tmp_path])[0]]
    assert paths == sorted(paths)
    assert len(paths) == 30
