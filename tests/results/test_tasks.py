import numpy as np
import pytest
from reference.ranked import family, many_shot, result_of, seen, write, write_split

from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.results.folders import find_results
from fewshot_bn.results.tasks import Asked, tasks_of


def tasks(folder, *results, asked=None):
    for made in results:
        write(folder, made)
    return tasks_of(find_results([folder])[0], asked or Asked())


def test_a_task_has_the_scores_of_all_modes_on_all_backbones(tmp_path):
    made = family(10, 6)
    found = tasks(tmp_path, *made)
    (task,) = found.tasks
    assert found.notes == []
    assert (task.name, task.regime) == ("plants 5-way 1-shot, 4 queries, seed 0", "few-shot")
    assert task.modes == ("ft", "lr", "proto")
    assert task.backbones == tuple(f"b{b:02}" for b in range(10)) == tuple(found.backbones)
    assert task.units == "6 episodes"
    for place, mode in enumerate(task.modes):
        expected = [result.accuracies for result in made if result.mode == mode]
        np.testing.assert_array_equal(task.values[place], expected)
        np.testing.assert_allclose(task.scores[place], np.mean(expected, axis=1))
        assert task.estimates[mode] == tuple(result.accuracy for result in made if result.mode == mode)


def test_the_reference_comes_first_and_modes_as_they_are_asked_for(tmp_path):
    (task,) = tasks(tmp_path, *family(10, 3), asked=Asked("lr", ["proto", "ft", "proto"])).tasks
    assert task.modes == ("lr", "proto", "ft")
    (task,) = tasks(tmp_path, asked=Asked("lr")).tasks
    assert task.modes == ("lr", "ft", "proto")


def test_few_backbones_are_said_to_be_few(tmp_path):
    (note,) = tasks(tmp_path, *family(9, 3)).notes
    assert note == (
        "plants 5-way 1-shot, 4 queries, seed 0: 9 backbones are few; with fewer than 10, intervals over backbones are "
        "rough"
    )


def test_backbones_that_lack_a_mode_are_left_out_and_named(tmp_path):
    made = family(12, 3)
    made = [one for one in made if (one.mode, one.key["backbone"]["name"]) not in {("lr", "b03"), ("ft", "b04")}]
    found = tasks(tmp_path, *[one for one in made if (one.mode, one.key["backbone"]["name"]) != ("proto", "b04")])
    assert len(found.tasks[0].backbones) == 10
    assert not {"b03", "b04"} & {*found.tasks[0].backbones, *found.backbones}
    assert [note.split(": ", 1)[1] for note in found.notes] == [
        "b03 is left out: no result of lr",
        "b04 is left out: no result of ft, proto",
    ]
    assert len(tasks(tmp_path, asked=Asked(proxies=["proto"])).tasks[0].backbones) == 11


def test_the_first_episodes_that_all_have_count(tmp_path):
    made = family(10, 8)
    made[3] = result_of("ft", "b03", made[3].correct[:5])
    found = tasks(tmp_path, *made)
    assert found.tasks[0].values.shape == (3, 10, 5)
    assert found.tasks[0].estimates["lr"][0] == next(one for one in made if one.mode == "lr")[:5].accuracy
    assert "the first 5 episodes, which all results have; the longest has 8" in found.notes[0]


def test_results_of_as_many_episodes_that_are_others_are_an_error(tmp_path):
    made = family(10, 8)
    made[3] = result_of("ft", "b03", made[3].correct, episodes="others")
    with pytest.raises(ResultError, match=r"b03_ft.*\.json and .*: their keys are of the same episodes, they are not"):
        tasks(tmp_path, *made)


def test_too_few_backbones_are_an_error_that_names_those_that_are_there(tmp_path):
    made = [one for one in family(9, 3) if one.mode != "proto" or one.key["backbone"]["name"] < "b04"]
    with pytest.raises(ResultError) as caught:
        tasks(tmp_path, *made)
    assert str(caught.value) == (
        "plants 5-way 1-shot, 4 queries, seed 0: 4 backbones (b00, b01, b02, b03) have all of ft, lr, proto, at least "
        "5 are needed; found by mode: ft 9, lr 9, proto 4; run more backbones, or choose other modes with --mode"
    )
    assert len(tasks(tmp_path, asked=Asked(proxies=["lr"])).tasks[0].backbones) == 9


def test_backbones_of_one_name_are_several(tmp_path):
    for b in range(5):
        for mode in ("ft", "lr"):
            write(tmp_path / f"{mode}{b}", result_of(mode, "net", [b + 1, 3], facts={"fingerprint": f"{b}" * 64}))
    found = tasks(tmp_path)
    assert found.tasks[0].backbones == tuple(f"net (net.pth, {str(b) * 8})" for b in range(5))
    assert {backbone.fingerprint[0] for backbone in found.backbones.values()} == set("01234")


def test_tasks_that_nothing_can_be_said_of_are_left_out_and_said(tmp_path):
    made = [*family(10, 3), *family(3, 3, shape={"n_support": 5})]
    made += [one for one in family(10, 3, shape={"n_support": 20}) if one.mode != "ft"]
    made += [one for one in family(10, 3, shape={"n_support": 50}) if one.mode == "ft"]
    found = tasks(tmp_path, *made, asked=Asked(proxies=["lr", "proto"]))
    assert [task.name for task in found.tasks] == ["plants 5-way 1-shot, 4 queries, seed 0"]
    told = {note.split(",")[0].rsplit(" ", 1)[1]: note for note in found.notes}
    assert "is left out: 3 backbones (b00, b01, b02) have all of" in told["5-shot"]
    assert told["20-shot"].endswith("is left out: no result of ft, the reference")
    assert told["50-shot"].endswith("is left out: no result of lr, proto")


def test_a_mode_that_a_task_lacks_is_said(tmp_path):
    made = [*family(10, 3), *(one for one in family(10, 3, shape={"n_support": 5}) if one.mode != "proto")]
    found = tasks(tmp_path, *made, asked=Asked(proxies=["proto", "lr"]))
    assert [task.modes for task in found.tasks] == [("ft", "proto", "lr"), ("ft", "lr")]
    assert found.notes == ["plants 5-way 5-shot, 4 queries, seed 0: no result of proto"]


def test_settings_that_differ_between_backbones_are_said(tmp_path):
    made = family(10, 2)
    lr = [one for one in made if one.mode == "lr"]
    lr[2].key["adapter"]["settings"]["steps"] = 7
    (note,) = tasks(tmp_path, *made).notes
    assert note.endswith("lr has not the same settings on all backbones: steps is 50, 7")


def test_older_many_shot_results_have_scores_but_no_units(tmp_path):
    for b in range(10):
        for mode, score in (("ft", 0.5 + b / 40), ("lr", 0.7 - b / 40)):
            write_split(tmp_path, many_shot(mode, f"b{b}", score))
    found = tasks(tmp_path)
    (task,) = found.tasks
    assert (task.regime, task.units, task.values) == ("many-shot", "20 test images", None)
    np.testing.assert_allclose(task.scores[1], 0.7 - np.arange(10) / 40)
    (note,) = found.notes
    assert note.endswith(
        "which test images are right is not kept, or is not what is measured: no intervals over test images"
    )
    with pytest.raises(ResultError, match="many-shot, .*: its results have no auc; choose another --metric"):
        tasks(tmp_path, asked=Asked(metric="auc"))
    few = tasks(tmp_path, *family(10, 2, measures={"auc": (0.5, 1.0)}), asked=Asked(metric="auc"))
    assert [task.regime for task in few.tasks] == ["few-shot"]
    assert "is left out: its results have no auc" in few.notes[0]


def test_test_images_are_units(tmp_path):
    rng = np.random.default_rng(np.random.Philox(1))
    right = rng.random((2, 10, 20)) < np.linspace(0.4, 0.9, 10)[:, None]
    for mode, rows in zip(("ft", "lr"), right.tolist(), strict=True):
        for b, row in enumerate(rows):
            write_split(tmp_path, seen(mode, f"b{b}", row))
    found = tasks(tmp_path)
    assert (found.notes, found.tasks[0].units) == ([], "20 test images")
    np.testing.assert_array_equal(found.tasks[0].values, right)
    (task,) = tasks(tmp_path, asked=Asked(metric="mean-per-class")).tasks
    np.testing.assert_allclose(task.values.mean(-1), task.scores)
    assert [len(places) for places in task.strata] == [10, 6, 4]
    (task,) = tasks(tmp_path, asked=Asked(metric="map")).tasks
    assert task.values is None


def test_results_from_before_there_was_the_metric_are_an_error_that_names_one(tmp_path):
    with pytest.raises(
        ResultError, match=r"plants_b00_ft_.*\.json: ft: 2 of 2 episodes are from before auc was measured"
    ):
        tasks(tmp_path, *family(10, 2), asked=Asked(metric="auc"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked("fit"), r"unknown reference, .* 'fit' \(did you mean 'ft'\?\); choose from: ft, lr, proto"),
        (Asked(proxies=["bn"]), r"unknown mode, .* 'bn'.*; choose from: ft, lr, proto"),
        (Asked(proxies=["lr", "ft"]), "--mode ft is the reference, with which others are compared; name others"),
        (Asked(metric="acuracy"), r"unknown metric 'acuracy' \(did you mean 'accuracy'\?\)"),
        (Asked(metric="calibration_error"), "unknown metric 'calibration_error'"),
    ],
)
def test_unknown_names_are_refused(tmp_path, asked, message):
    with pytest.raises(UsageError, match=message):
        tasks(tmp_path, *family(5, 2), asked=asked)


def test_results_of_the_reference_alone_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="all results are of ft, the reference; add those of modes to compare with it"):
        tasks(tmp_path, *(one for one in family(6, 2) if one.mode == "ft"))
