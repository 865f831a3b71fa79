"""`--metric`: what the table compares, from the values of each episode that the files keep."""

import json
import re

import pytest
from reference.commands import results, run

from fewshot_bn.results.statistics import draws_of_pairs, estimate, paired_difference

SINCE = {"mean-per-class", "auc", "f1"}  # not kept by files of before


def made_old(folder):
    """The files as they were written before there were the metrics."""
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        content.pop("checksum", None)
        for part in (content["measures"], content["summary"]):
            for name in part.keys() & SINCE:
                del part[name]
        path.write_text(json.dumps(content))


def columns(printed):
    """The cells of each line of the table, by mode; ends of intervals are left out."""
    lines = [re.split(r"\s{2,}", re.sub(r" \[.*?\]", "", line)) for line in printed.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def refused(capsys, *arguments):
    """The one line that says why the command was refused."""
    capsys.readouterr()
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


def test_without_it_the_table_is_what_it_was(here, capsys):
    assert run("--mode", "proto") == 0
    header = ["shots", "accuracy ± 95 % CI", "difference to lr ± CI", "NLL", "ECE", "s/episode"]
    printed = capsys.readouterr()
    assert columns(printed.out)["mode"] == header
    assert re.search(r"^proto 2-shot: \d+\.\d\d ± ", printed.err, re.M)
    assert run("--mode", "proto", "--metric", "accuracy") == 0
    assert capsys.readouterr().out == printed.out


def test_each_metric_has_its_mean_and_its_difference_with_intervals(here, capsys):
    assert run("--mode", "proto", "--metric", "auc", "accuracy", "auc") == 0
    printed, found = capsys.readouterr(), results(here / "results")
    table, difference = columns(printed.out), "difference to lr ± CI"
    assert table["mode"][1:-1] == ["AUC ± 95 % CI", difference, "accuracy ± 95 % CI", difference, "NLL", "ECE"]
    assert table["lr"][2] == table["lr"][4] == "(baseline)"
    expected = []
    for metric, draws in (("auc", draws_of_pairs(6, 12)), ("accuracy", 12)):
        values, baseline = (found[mode, 2].values(metric) for mode in ("proto", "lr"))
        mean, less = estimate(values, draws), paired_difference(values, baseline, draws)
        expected += [f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f}"]
        expected += [f"{100 * less.mean:+.2f} ± {100 * less.half_width:.2f}"]
    assert table["proto"][1:5] == expected
    assert f"proto 2-shot: AUC {expected[0]}" in printed.err


def test_a_metric_that_is_no_share_is_shown_as_it_is(here, capsys):
    assert run("--mode", "proto", "--metric", "nll") == 0
    table, found = columns(capsys.readouterr().out), results(here / "results")
    assert table["mode"] == ["shots", "NLL ± 95 % CI", "difference to lr ± CI", "ECE", "s/episode"]
    mean, less = found["proto", 2].estimate("nll"), found["proto", 2].difference_to(found["lr", 2], "nll")
    assert table["proto"][1] == f"{mean.mean:.3f} ± {mean.half_width:.3f}"
    assert table["proto"][2] == f"{less.mean:+.3f} ± {less.half_width:.3f}"


def test_no_baseline_no_difference(here, capsys):
    assert run("--mode", "proto", "--baseline", "none", "--metric", "f1", "auc") == 0
    header = ["shots", "F1 ± 95 % CI", "AUC ± 95 % CI", "NLL", "ECE", "s/episode"]
    assert columns(capsys.readouterr().out)["mode"] == header


def test_what_predictions_tell_is_known_of_older_files_too(here, capsys):
    run("--mode", "proto")
    new = results(here / "results")
    capsys.readouterr()
    made_old(here / "results")
    run("--mode", "proto", "--n-episodes", "9", "--metric", "mean-per-class", "f1")  # the last three are measured
    old = results(here / "results")
    assert old["proto", 2].measures["f1"][:6] == (None,) * 6
    for mode in ("lr", "proto"):
        for metric in ("mean-per-class", "f1"):
            assert old[mode, 2].values(metric)[:6] == pytest.approx(new[mode, 2].values(metric))
            assert old[mode, 2].values(metric)[6:] == list(old[mode, 2].measures[metric][6:])
        assert old[mode, 2].values("mean-per-class") == pytest.approx(old[mode, 2].accuracies)


def test_what_was_not_measured_is_an_error_before_anything_is_computed(here, capsys):
    run("--mode", "proto", "--baseline", "none", "--n-episodes", "4")
    made_old(here / "results")
    run("--mode", "proto", "--baseline", "none")
    message = refused(capsys, "--mode", "lr", "proto", "--baseline", "none", "--metric", "f1", "auc")
    assert re.search(
        r"error: results/shapes_tiny_proto_\S+\.json: 4 of its episodes were run before auc was measured, and their "
        r"scores were not kept; move it away \(they are run again\), or ask for other metrics than auc$",
        message,
    )
    assert set(results(here / "results")) == {("proto", 2)}
    next((here / "results").glob("*.json")).unlink()
    assert run("--mode", "proto", "--baseline", "none", "--metric", "auc") == 0


def test_shards_of_before_lack_it_too(here, capsys):
    for shard in ("1/2", "2/2"):
        run("--mode", "proto", "--baseline", "none", "--shard", shard)
        made_old(here / "results")
    message = refused(capsys, "--mode", "proto", "--baseline", "none", "--metric", "auc")
    assert "6 of its episodes were run before auc was measured" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--metric", "acuracy"],
            r"unknown metric 'acuracy' \(did you mean 'accuracy'\?\); choose from: accuracy, nll",
        ),
        (["--metric", "calibration_error"], "unknown metric 'calibration_error'"),
        (["--metric", "auc", "top-1"], "unknown metric 'top-1'"),
        (["--metric"], "argument --metric: expected at least one argument"),
        (["--regime", "many-shot", "--mode", "lr", "--metric", "f1"], "--metric belongs to few-shot episodes"),
    ],
)
def test_other_names_are_refused(here, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("reference.commands.TINY", [] if "many-shot" in arguments else ["--n-way", "3"])
    assert re.search(message, refused(capsys, *arguments))
    assert not (here / "results").exists()
