"""The command under --regime many-shot, in this process."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from reference.commands import assert_refused

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import split_of
from fewshot_bn.eval import main
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.results.many_shot_files import read_many_shot


def run(*arguments):
    return main(["--dataset", "shapes", "--model", "card.toml", "--regime", "many-shot", *arguments])


def test_the_table_says_what_the_file_says(here, capsys):
    assert run() == 0
    printed = capsys.readouterr()
    assert "many-shot: 17 training, 6 validation and 6 test images, drawn with seed 0" in printed.err
    (path,) = (here / "results").glob("*.json")
    assert f"result: {path.relative_to(here)}" in printed.out
    assert re.fullmatch(r"shapes_tiny_lr_many-shot_seed0_[0-9a-f]{8}\.json", path.name)
    result = read_many_shot(path)
    assert (result.metric, len(result.path), len(result.predictions)) == ("top-1", 45, 6)
    dataset = open_dataset("shapes")
    labels = dataset.labels[split_of(dataset, 0).test]
    assert np.mean(labels == result.predictions) == result.test["top-1"]
    assert re.search(rf"^mode +top-1 ± 95 % CI .*\n-+\nlr +{100 * result.test['top-1']:.2f} ± ", printed.out)
    assert f"C = {result.C:.3g} by top-1" in printed.out
    assert result.path[[point["C"] for point in result.path].index(result.C)]["top-1"] == max(
        point["top-1"] for point in result.path
    )


def test_a_complete_result_is_not_computed_again(here, capsys, monkeypatch):
    assert run() == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(LinearEvaluation, "sweep", None)
    assert run() == 0
    assert capsys.readouterr().out == first


def test_two_runs_give_one_answer_and_another_seed_another_split(here):
    for folder in ("a", "b"):
        assert run("--output", folder, "--no-feature-cache") == 0
    assert run("--output", "c", "--seed", "1") == 0
    a, b, c = (read_many_shot(next((here / folder).glob("*.json"))) for folder in "abc")
    assert (a.path, a.predictions, a.key) == (b.path, b.predictions, b.key)
    assert a.key["split"]["fingerprint"] != c.key["split"]["fingerprint"]


def test_the_metric_of_the_card_chooses_and_comes_first(here, capsys):
    card = 'name = "mine"\ntitle = "Mine"\nlayout = "folder"\nfolders = ["shapes"]\nmetric = "mean-per-class"\n'
    facts = 'licence = "x"\nsource = "x"\ncitation = "x"\nget = "x"\n[classes]\n"a, b" = 12\nc = 9\n"d e" = 8\n'
    (here / "mine.toml").write_text(card + facts)
    assert run("--dataset", "mine.toml", "--data-root", ".") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"mode +mean per class ± 95 % CI +top-1", lines[0])
    assert "by mean per class on the validation images" in lines[3]
    assert run("--set", "lr.metric=map") == 0
    assert "by mAP on" in capsys.readouterr().out


def test_a_choice_at_the_edge_of_the_grid_is_said(here, capsys):
    assert run("--set", "lr.n_values=2", "lr.C_max=1e-4") == 0
    assert re.search(
        r"C is the (minimum|maximum) of its grid: widen it with --set lr.C_(min|max)=", capsys.readouterr().out
    )


def test_fits_that_do_not_converge_are_counted(here, capsys):
    assert run("--set", "lr.max_steps=1", "lr.tolerance=1e-12") == 0
    assert re.search(r"\d+ of 46 fits did not converge", capsys.readouterr().out)


@pytest.mark.parametrize("mode", [mode for mode in CLASSIFIERS if mode != "lr"])
def test_every_mode_is_compared_with_lr_on_the_same_images(here, capsys, mode):
    assert run("--mode", mode, "--set", f"{mode}.epochs=1", f"{mode}.batch_size=8") == 0
    printed = capsys.readouterr().out
    first, _, lr, tuned, *_ = printed.splitlines()
    assert "difference to lr ± CI" in first
    assert lr.split()[0] == "lr"
    assert "(baseline)" in lr
    assert tuned.split()[0] == mode
    assert re.search(r"[+-]\d+\.\d\d ± ", tuned)
    baseline, result = (read_many_shot(next((here / "results").glob(f"*_{name}_*.json"))) for name in ("lr", mode))
    assert result.labels == baseline.labels
    assert result.training["steps"] in (2, 3)  # 17 or 23 images in batches of 8
    difference = 100 * (result.test["top-1"] - baseline.test["top-1"])
    assert f"{difference:+.2f} ± " in tuned
    assert sorted(path.suffix for path in (here / "results").iterdir()) == [".json", ".json", ".lock", ".lock"]


def test_without_a_baseline_nothing_is_compared(here, capsys):
    assert run("--mode", "head", "--baseline", "none", "--set", "head.epochs=1") == 0
    assert "difference" not in capsys.readouterr().out


def test_a_result_of_before_labels_were_kept_is_compared_too(here, capsys):
    assert run() == 0
    (path,) = (here / "results").glob("*.json")
    content = json.loads(path.read_text())
    older = {name: value for name, value in content.items() if name not in ("labels", "training", "checksum")}
    path.write_text(json.dumps(older))
    capsys.readouterr()
    assert run("--mode", "head", "--set", "head.epochs=1") == 0
    assert " ± " in capsys.readouterr().out.splitlines()[3]


def test_a_grid_is_searched_on_the_validation_images(here, capsys):
    arguments = ["--mode", "head", "--set", "head.epochs=1", "--grid", "head.lr_head=0.01,1", "head.momentum=0,0.9"]
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    (path,) = (here / "results").glob("*_head_*.json")
    result = read_many_shot(path)
    assert [trial["settings"] for trial in result.trials] == [
        {"lr_head": rate, "momentum": momentum} for rate in (0.01, 1.0) for momentum in (0.0, 0.9)
    ]
    best = max(trial["top-1"] for trial in result.trials)
    assert result.chosen == next(trial["settings"] for trial in result.trials if trial["top-1"] == best)
    settings = " ".join(f"{name}={value:g}" for name, value in result.chosen.items())
    assert f"head: {settings} by top-1 on the validation images, out of 4 trials\n" in printed
    assert run(*arguments[:-3]) == 0  # without a grid it is another result
    assert len(list((here / "results").glob("*_head_*.json"))) == 2


def test_options_of_many_images_are_refused_for_episodes(here, capsys):
    assert main(["--dataset", "shapes", "--model", "card.toml", "--grid", "bn.C=1,2"]) == 2
    assert "--grid belongs to --regime many-shot" in capsys.readouterr().err


@pytest.mark.full
def test_what_is_kept_of_another_training_or_is_damaged_stays_and_is_said(here, capsys, monkeypatch):
    monkeypatch.setattr("fewshot_bn.experiment.many_shot.write_many_shot", None)  # a kill at the very end
    arguments = ("--mode", "head", "--baseline", "none", "--set", "head.epochs=1", "--quiet")
    with pytest.raises(TypeError):
        run(*arguments)
    (kept,) = (here / "results").glob(".*.training")
    kept.write_bytes(kept.read_bytes()[:100])
    capsys.readouterr()
    assert run(*arguments) == 2
    assert "cannot be continued, as what was kept of it cannot be read; delete it" in capsys.readouterr().err
    torch.save({"key": "other", "states": {}, "records": {}}, kept)
    assert run(*arguments) == 2
    assert "is of another training; move it away" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val", "test")])
def test_folders_of_splits_are_the_split(here, capsys, names):
    for name in names:
        shutil.copytree(here / "shapes", here / "parted" / name)
    assert main(["--dataset", "parted", "--model", "card.toml", "--regime", "many-shot", "--quiet"]) == 0
    (path,) = (here / "results").glob("*.json")
    split = read_many_shot(path).key["split"]
    n_val = 29 if "val" in names else 6
    assert (split["train"], split["val"], split["test"]) == (58 - n_val - (29 if n_val == 6 else 0), n_val, 29)
    assert split["official"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "bn", "proto"], "unknown mode of --regime many-shot 'proto'.*choose from: lr, head, bn, "),
        (["--baseline", "knn"], "unknown mode of --regime many-shot 'knn'"),
        (["--mode", "ft", "--set", "ft.batch_size=0"], "--mode ft: batch_size=0 puts all images into a step; many"),
        (["--mode", "ft", "--set", "ft.statistics=support"], "--mode ft: statistics=support is of episodes"),
        (["--mode", "ft", "--set", "ft.members=two-stage"], "--mode ft: tiny: members=two-stage, but it is a single"),
        (["--mode", "ft", "--set", "ft.scope=nothing"], "--mode ft: tiny: scope 'nothing' matches none of its"),
        (["--mode", "head", "--set", "head.statistics=batch"], "head: statistics=batch, but the network stays as it"),
        (["--grid", "ft.lr_body=1,2"], r"--grid names 'ft', which is not a mode of this run \(lr\)"),
        (["--grid", "lr.C_min=1,2"], r"grid names 'lr', which is not a mode of this run that is trained by steps"),
        (["--mode", "ft", "--grid", "ft.lr_body"], "--grid 'ft.lr_body' is not of the form MODE.SETTING=VALUE,VALUE"),
        (["--mode", "ft", "--grid", "ft.lr=1"], "unknown setting of ft 'lr'"),
        (["--mode", "ft", "--grid", "ft.lr_body=1,x"], "ft.lr_body is 'x'; it must be a number"),
        (["--mode", "ft", "--grid", "ft.lr_body=1,1.0"], "--grid gives ft.lr_body a value twice: 1,1.0"),
        (["--mode", "ft", "--grid", "ft.lr_body=1", "ft.lr_body+lr_head=2"], "--grid names a setting of ft twice"),
        (["--mode", "ft", "--grid", "ft=transfr"], r"unknown grid 'transfr' \(did you mean 'transfer'\?\)"),
        (["--mode", "ft", "--grid", "ft=transfer", "ft.lr_body=1"], "--grid gives ft a grid by name and settings"),
        (["--mode", "bn", "--grid", "bn=transfer"], "--mode bn: unknown setting of bn 'lr_body'"),
        (
            ["--mode", "ft", "--grid", "ft=transfer", "--budget", "3"],
            "the budget is 3 trainings; the shortest search of",
        ),
        (["--mode", "ft", "--grid", "ft.lr_body=1,-1"], "--mode ft: ft: lr_body is -1.0"),
        (["--set", "ft.steps=3"], r"--set names 'ft', which is not a mode of this run \(lr\)"),
        (["--device", "cpu,cpu"], "--device cpu,cpu names several; --regime many-shot runs on one"),
        (["--n-support", "1"], "--n-support belongs to few-shot episodes"),
        (["--shard", "1/2"], "--shard belongs to few-shot episodes"),
        (["--set", "lr.C=3"], r"unknown setting of lr 'C'; choose from: n_values, C_min"),
        (["--set", "lr.metric=top1"], r"unknown value of lr.metric 'top1' \(did you mean 'top-1'\?\)"),
        (["--set", "lr.n_values=0"], "lr: n_values is 0"),
        (["--regime", "many"], "argument --regime: invalid choice: 'many'"),
        (["--output", "card.toml"], "the output folder card.toml cannot be written"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(here, capsys, arguments, message):
    assert_refused((run(*arguments), *capsys.readouterr()), message)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "not a whole result file .half-written or damaged."),
        (lambda text: text.replace('"many-shot 1"', '"many-shot 9"'), "is of another format than many-shot 1"),
        (lambda text: text.replace('"predictions"', '"other"'), "cannot be read as a many-shot result"),
        (lambda text: re.sub(r'"path": .*', '"path": [],', text), "its parts do not fit together"),
        (lambda text: re.sub(r'"path": .*', '"path": [{}],', text), "cannot be read as a many-shot result"),
        (lambda text: re.sub(r'"C": [^,]*,\n', '"C": null,\n', text), "parts do not fit together|cannot be read as"),
        (lambda text: text.replace('"metric": "top-1"', '"metric": "foo"'), "its parts do not fit together"),
        (
            lambda text: re.sub(r'"test": {"top-1": [^,]*', '"test": {"top-1": NaN', text),
            "its parts do not fit together",
        ),
        (lambda text: re.sub(r'"predictions": .*', '"predictions": [],', text), "its parts do not fit together"),
        (
            lambda text: text.replace('"max_steps": 200', '"max_steps": 9'),
            "other settings .adapter.settings.max_steps is 9",
        ),
    ],
)
def test_a_damaged_file_is_an_error_and_stays(here, capsys, damage, message):
    few = ("--quiet", "--set", "lr.n_values=3")
    assert run(*few) == 0
    (path,) = (here / "results").glob("*.json")
    path.write_text(damage(path.read_text()))
    before = path.read_text()
    capsys.readouterr()
    assert run(*few) == 2
    assert re.search(message, capsys.readouterr().err)
    assert path.read_text() == before


def test_the_file_is_plain_json(here):
    assert run("--quiet") == 0
    (path,) = (here / "results").glob("*.json")
    content = json.loads(path.read_text())
    assert content["run"]["seconds"] > 0
    assert set(content["test"]) == {"top-1", "mean-per-class", "map"}
