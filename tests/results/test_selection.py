from pathlib import Path

import pytest
from reference.ranked import many_shot, result_of, write, write_split

from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.results.folders import find_results
from fewshot_bn.results.selection import matching, oddities, one_each

LABEL = {}


def found_in(folder):
    found, _ = find_results([folder])
    LABEL.update({one.backbone: one.backbone.name for one in found})
    return found


@pytest.fixture
def three(tmp_path):
    """Results of bn with other settings, and one of lr."""
    for name, settings in [("a", {"steps": 50, "lr": 0.1, "norm": "batch"}), ("b", {"steps": 100, "lr": 0.2})]:
        write(tmp_path / name, result_of("bn", "net", [3, 4], settings=settings | {"flip": name == "a"}))
    write(tmp_path, result_of("lr", "net", [3, 4]))
    return found_in(tmp_path)


@pytest.mark.parametrize(
    ("setting", "text", "folder"),
    [
        ("steps", "50", "a"),
        ("steps", "100", "b"),
        ("lr", "0.10", "a"),
        ("lr", "2e-1", "b"),
        ("flip", "True", "a"),
        ("flip", "false", "b"),
        ("norm", "batch", "a"),
    ],
)
def test_results_of_a_mode_are_chosen_by_a_setting_and_others_stay(three, setting, text, folder):
    kept = matching(three, {"bn": {setting: text}})
    assert {(one.mode, one.path.parent.name == folder) for one in kept} == {("bn", True), ("lr", False)}
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"bm": {"steps": "50"}}, r"unknown mode of --match 'bm' \(did you mean 'bn'\?\); choose from: bn, lr"),
        ({"bn": {"step": "50"}}, r"unknown setting of bn 'step' \(did you mean 'steps'\?\)"),
        ({"bn": {"steps": "60"}}, "--match bn.steps=60: no result of bn has that, but (50, 100|100, 50)"),
        ({"bn": {"steps": "many"}}, "--match bn.steps=many: no result of bn"),
        ({"bn": {"steps": "50", "lr": "0.2"}}, "--match bn.lr=0.2: no result of bn has that, but 0.1"),
    ],
)
def test_a_choice_that_leaves_nothing_is_an_error(three, texts, message):
    with pytest.raises(UsageError, match=message):
        matching(three, texts)


def test_two_results_of_other_settings_are_an_error_that_names_both(three):
    with pytest.raises(ResultError) as caught:
        one_each(three, LABEL)
    text = str(caught.value)
    a, b = sorted(str(one.path) for one in three if one.mode == "bn")
    assert text.startswith(f"{a} and {b} are both of bn on net in one task, but flip is true in the first and false in")
    assert "choose by --match bn.flip=true, or move one away" in text


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_setting_that_one_lacks_is_chosen_by_the_value_of_the_other(tmp_path, order):
    for folder, settings in zip(order, ({"steps": 50}, {"steps": 50, "extra": 2}), strict=True):
        write(tmp_path / folder, result_of("mine", "net", [3], settings=settings))
    with pytest.raises(
        ResultError, match=r"extra is .*not there in the .*; choose by --match mine\.extra=2, or move one"
    ):
        one_each(found_in(tmp_path), LABEL)


def test_after_the_choice_there_is_one_of_each(three):
    ((by_mode),) = one_each(matching(three, {"bn": {"steps": "100"}}), LABEL).values()
    assert {mode: len(backbones) for mode, backbones in by_mode.items()} == {"bn": 1, "lr": 1}
    (bn,) = by_mode["bn"].values()
    assert bn.settings["steps"] == 100


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"preprocessing": {"crop_px": 64}},
            "preprocessing.crop_px is 32 in the first and 64 in the second; name only one, or",
        ),
        ({"adapter": {"code": "x"}}, "adapter.code is not there in the first and x in the second; name only one, or"),
        ({"fewshot_bn": "0.2"}, r"fewshot_bn is 0\.1\.0 in the first and 0\.2 in the second; name only one, or"),
    ],
)
def test_two_results_that_no_setting_tells_apart(tmp_path, parts, message):
    write(tmp_path / "a", result_of("bn", "net", [3]))
    made = result_of("bn", "net", [3], **{name: part for name, part in parts.items() if name != "fewshot_bn"})
    made.key.update({name: part for name, part in parts.items() if name == "fewshot_bn"})
    write(tmp_path / "b", made)
    with pytest.raises(ResultError, match=message):
        one_each(found_in(tmp_path), LABEL)


@pytest.mark.parametrize("folders", ["ab", "ba"])
def test_of_copies_the_longest_counts(tmp_path, folders):
    for folder, correct in zip(folders, ([3, 4], [3, 4, 5]), strict=True):
        write(tmp_path / folder, result_of("bn", "net", correct))
    ((by_mode),) = one_each(found_in(tmp_path), LABEL).values()
    (bn,) = by_mode["bn"].values()
    assert bn.result.correct == (3, 4, 5)


@pytest.mark.parametrize("kind", ["few-shot", "many-shot"])
def test_copies_that_say_other_things_are_an_error(tmp_path, kind):
    for folder, n in (("a", 3), ("b", 5)):
        if kind == "few-shot":
            write(tmp_path / folder, result_of("bn", "net", [3, n]))
        else:
            write_split(tmp_path / folder, many_shot("bn", "net", n / 10))
    with pytest.raises(ResultError, match="have the same settings, but not the same answers; name only one"):
        one_each(found_in(tmp_path), LABEL)


def said(folder, mode):
    ((by_mode),) = one_each(found_in(folder), LABEL).values()
    return list(oddities(mode, by_mode[mode], by_mode["ft"], LABEL))


def test_settings_and_images_that_differ_between_backbones_are_said(tmp_path: Path):
    for b in range(3):
        write(tmp_path, result_of("ft", f"b{b}", [3], preprocessing={"crop_px": 32 + 8 * b}))
        write(tmp_path, result_of("lr", f"b{b}", [3], preprocessing={"crop_px": 32 + 8 * b}))
        write(tmp_path, result_of("mine", f"b{b}", [3], settings={"steps": 50 + b // 2}, adapter={"code": f"{b // 2}"}))
    assert said(tmp_path, "ft") == said(tmp_path, "lr") == []
    assert said(tmp_path, "mine") == [
        "mine has not the same settings on all backbones: steps is 50, 51",
        "mine has not the same code on all backbones",
        "mine has seen otherwise preprocessed images than the reference of 2 of 3 backbones (b1, b2)",
    ]


def test_members_of_a_concatenation_are_compared_by_what_they_see(tmp_path):
    for mode, px in (("ft", 32), ("lr", 64)):
        members = [{"name": "x", "preprocessing": {"crop_px": 32}}, {"name": "y", "preprocessing": {"crop_px": px}}]
        write(tmp_path, result_of(mode, "x+y", [3], facts={"members": members}))
    assert said(tmp_path, "lr") == [
        "lr has seen otherwise preprocessed images than the reference of 1 of 1 backbones (x+y)"
    ]
