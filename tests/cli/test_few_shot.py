"""The command, from its arguments to its table, in this process; test_smoke.py runs it as a process of its own."""

import dataclasses
import json
import re

import pytest
import torch
from reference.commands import answers, results, run, stopped_after
from reference.places import CARDS, SHARED, needs_shared

from fewshot_bn.adapters import ADAPTERS, settings_of
from fewshot_bn.cli.eval import _parser, parse
from fewshot_bn.cli.help import EXAMPLES
from fewshot_bn.cli.options import flag_of
from fewshot_bn.config import FewShotConfig, ManyShotConfig
from fewshot_bn.eval import main
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.experiment import few_shot
from fewshot_bn.results.statistics import estimate, paired_difference

CONV4 = str(CARDS / "conv4.toml")


def test_the_table_says_what_the_files_say(here, capsys):
    assert run("--mode", "proto", "bn", "--n-support", "1", "3") == 0
    printed = capsys.readouterr()
    found = results(here / "results")
    assert set(found) == {(mode, shots) for mode in ("lr", "proto", "bn") for shots in (1, 3)}
    for (mode, shots), result in found.items():
        accuracy = estimate(result.accuracies, result.n_queries)
        expected = [mode, str(shots), f"{100 * accuracy.mean:.2f} ± {100 * accuracy.half_width:.2f}"]
        if mode == "lr":
            expected.append("(baseline)")
        else:
            difference = paired_difference(result.accuracies, found["lr", shots].accuracies, result.n_queries)
            expected.append(f"{100 * difference.mean:+.2f} ± {100 * difference.half_width:.2f}")
        rows = [re.split(r"\s{2,}", re.sub(r" \[.*?\]", "", line))[:4] for line in printed.out.splitlines()]
        assert expected in rows
    assert printed.out.count("result: ") == 6
    assert "shapes (29 images, 3 classes), tiny (weights.pth) at 16 px; 3-way, 4 queries, 6 episodes" in printed.err


def test_all_modes_see_the_same_episodes_and_shots_share_their_queries(here):
    run("--mode", "proto", "--n-support", "1", "2")
    found = results(here / "results")
    assert found["lr", 1].episodes == found["proto", 1].episodes != found["proto", 2].episodes


def test_a_second_run_gives_identical_files_times_aside(here):
    for folder in ("one", "two"):
        assert run("--mode", "proto", "bn", "--output", folder, "--no-feature-cache") == 0
    for path in (here / "one").glob("*.json"):
        contents = [json.loads((here / folder / path.name).read_text()) for folder in ("one", "two")]
        for content in contents:
            del content["runs"]
        assert contents[0] == contents[1]


@pytest.mark.parametrize("chunk", ["1", pytest.param("4", marks=pytest.mark.full), "50"])
def test_the_chunk_does_not_change_the_answer(here, chunk):
    run("--mode", "proto", "bn", "--output", "one")
    run("--mode", "proto", "bn", "--output", "two", "--chunk", chunk)
    assert answers(here / "one") == answers(here / "two")


def test_a_complete_result_is_not_computed_again_and_more_episodes_are_added(here, monkeypatch):
    run("--n-episodes", "4")
    run("--n-episodes", "9", "--output", "long")
    before = {path: path.read_text() for path in (here / "results").glob("*.json")}
    run("--n-episodes", "3")
    assert {path: path.read_text() for path in (here / "results").glob("*.json")} == before
    run("--n-episodes", "9")
    assert answers(here / "results") == answers(here / "long")
    assert [len(r.runs) for r in results(here / "results").values()] == [2, 2]


def test_fewer_episodes_than_the_file_holds_are_its_first(here, capsys):
    run("--n-episodes", "6")
    capsys.readouterr()
    run("--n-episodes", "2")
    first = results(here / "results")["bn", 2][:2]
    assert f"{100 * estimate(first.accuracies).mean:.2f} ± " in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_computed_and_the_same_command_goes_on(here, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(few_shot, "evaluate", stopped_after(2, few_shot.evaluate))
        assert run("--baseline", "none", "--chunk", "2") == 130
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("stopped: 4 of 6 episodes of bn 2-shot are done and are kept in results")
    assert run("--baseline", "none", "--chunk", "2") == 0
    run("--baseline", "none", "--output", "whole")
    assert answers(here / "results") == answers(here / "whole")


def test_no_baseline_and_a_baseline_of_ones_own(here, capsys):
    assert run("--mode", "proto", "--baseline", "none", "--quiet") == 0
    printed = capsys.readouterr()
    assert "difference" not in printed.out
    assert printed.err == ""
    assert run("--mode", "lr", "--baseline", "proto") == 0
    assert re.search(r"proto .* \(baseline\)", capsys.readouterr().out)


def test_a_fit_that_does_not_converge_is_shown(here, capsys):
    assert run("--mode", "lr", "--baseline", "none", "--set", "lr.max_steps=1") == 0
    assert "6 of 6 episodes did not converge" in capsys.readouterr().out


def test_transductive_modes_are_marked_in_table_and_result(here, capsys):
    modes = ["soft-kmeans", "label-propagation", "laplacian"]
    assert run("--mode", "proto", *modes) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    found = results(here / "results")
    for mode in ("proto", "lr", *modes):
        said = mode in modes
        assert found[mode, 2].key["adapter"]["transductive"] is said
        assert lines[mode].endswith("transductive") is said


def test_a_bn_run_that_diverges_is_counted_as_wrong_and_shown(here, capsys):
    assert run("--mode", "bn", "--set", "bn.lr_head=1e20", "bn.lr_norm=1e20") == 0
    assert "6 of 6 episodes did not converge" in capsys.readouterr().out
    assert results(here / "results")["bn", 2].correct == (0,) * 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "eurosta"], r"unknown dataset 'eurosta' \(did you mean 'eurosat'\?\)"),
        (["--dataset", "eurosat"], "eurosat: no data found; looked in data/EuroSAT/2750"),
        (["--model", "resnet05"], r"unknown model 'resnet05' \(did you mean 'resnet50'\?\)"),
        (["--dataset", "no/such/folder"], "no/such/folder: there is no image folder, card"),
        (["--model", "weights.pth"], "--model weights.pth is no card .*--weights"),
        (["--model", "none.toml"], "none.toml: this card cannot be read: No such file"),
        (["--mode", "gn"], "--mode gn: tiny: no GroupNorm layer"),
        pytest.param(
            ["--model", "vit_b_32", "--weights", "random"], "vit_b_32: no BatchNorm layer", marks=pytest.mark.full
        ),
        (["--weights", "absent.pth"], "tiny: no weights file absent.pth"),
        (["--mode", "bm"], r"unknown mode 'bm' \(did you mean 'bn'\?\); there are \d+, such as: bn"),
        (["--baseline", "lrr"], r"unknown mode 'lrr' \(did you mean 'lr'\?\)"),
        (["--set", "bn.step=3"], r"unknown setting of bn 'step' \(did you mean 'steps'\?\)"),
        (["--set", "proto.steps=3"], r"--set names 'proto', which is not a mode of this run \(lr, bn\)"),
        (["--set", "bn.steps"], "--set 'bn.steps' is not of the form MODE.SETTING=VALUE"),
        (["--set", "bn.steps=4"], "--set names bn.steps twice"),
        (["--n-way", "4"], "n_way is 4, but there are only 3 classes"),
        (["--n-way", "1"], "argument --n-way: '1' is not a whole number of at least 2"),
        (["--n-support", "5"], r"shapes: class 'd e' has 8 images, an episode needs 9 \(5 support \+ 4 query\)"),
        (["--n-support", "0"], "argument --n-support: '0' is not a whole number of at least 1"),
        (["--n-query", "-3"], "argument --n-query: '-3' is not a whole number"),
        (["--n-episodes", "many"], "argument --n-episodes: 'many' is not a whole number"),
        (["--seed", "-1"], "argument --seed: '-1' is not a whole number of at least 0"),
        (["--seed", "99999999999999999999"], "seed is 99999999999999999999; it must be between 0 and"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        pytest.param(
            ["--device", "cuda"],
            "device 'cuda' is not there: 0 CUDA devices found",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here"),
        ),
        (["--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["--preset", "cdfs"], r"unknown preset 'cdfs' \(did you mean 'cdfsl'\?\)"),
        (["--image-size", "4"], "argument --image-size"),
        (
            ["--model", CONV4, "--weights", "random", "--image-size", "8"],
            "conv4: .* images of 8 px",
        ),
        (["--output", "card.toml"], "the output folder card.toml cannot be written"),
        (["--nshot", "5"], "unrecognized arguments: --nshot 5; --help shows all options"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(here, capsys, arguments, message):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1, lines
    assert re.search(message, lines[0]), lines[0]
    assert printed.out == ""


def test_a_damaged_image_is_named_before_anything_is_reported(here, own_cache, capsys):
    path = here / "shapes" / "c" / "3.png"
    path.write_bytes(path.read_bytes()[:70])
    assert run("--mode", "proto", "--n-episodes", "40") == 2
    assert "error: shapes: 1 image cannot be read: 'c/3.png' (row 15)" in capsys.readouterr().err.splitlines()[-1]


def test_a_half_written_result_is_an_error_and_stays(here, capsys):
    run()
    path = next((here / "results").glob("*_bn_*.json"))
    path.write_text(path.read_text()[:200])
    assert run() == 2
    assert "half-written or damaged" in capsys.readouterr().err
    assert len(path.read_text()) == 200


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert EXAMPLES in text
    for name, adapter in ADAPTERS.items():
        assert re.search(rf"^  ([a-z]+, )?{name}[ ,]", EXAMPLES, re.M)
        assert all(setting in EXAMPLES for setting in settings_of(adapter))


def test_defaults_are_those_of_the_config():
    modes = {name: ADAPTERS[name] for name in ("lr", "bn")}
    assert parse([]).config == FewShotConfig(modes=modes)
    assert parse(["--regime", "many-shot"]).config == ManyShotConfig(modes={"lr": CLASSIFIERS["lr"]})


def test_every_field_of_a_config_is_an_option():
    text = _parser().format_help()
    for field in [*dataclasses.fields(FewShotConfig), *dataclasses.fields(ManyShotConfig)]:
        assert flag_of(field) in text
        assert field.metadata["text"].split(";")[0][:30] in " ".join(text.split()) or field.name == "modes"


@needs_shared
@pytest.mark.parametrize(("card", "file"), [("resnet20", "resnet20-12fca82f.th")])
def test_real_eurosat_images_with_real_weights(tmp_path, capsys, card, file):
    weights = str(SHARED / "weights" / file)
    arguments = ["--dataset", "eurosat", "--data-root", str(SHARED / "data"), "--model", str(CARDS / f"{card}.toml")]
    assert (
        main([*arguments, "--weights", weights, "--mode", "proto", "--n-episodes", "50", "--output", str(tmp_path)])
        == 0
    )
    assert "note: eurosat: a subset: 1,000 of 27,000 images" in capsys.readouterr().err
    found = results(tmp_path)
    assert 0.55 < estimate(found["lr", 5].accuracies).mean < 0.85
    dataset = found["lr", 5].key["dataset"]
    assert (dataset["n_images"], dataset["n_images_on_card"]) == (1000, 27000)
    assert main([*arguments, "--weights", weights, "--strict"]) == 2


def test_statistics_of_queries_are_marked_as_transductive(here, capsys):
    assert run("--mode", "adabn", "adabn-query") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    found = results(here / "results")
    for mode, transductive in (("lr", False), ("adabn", False), ("adabn-query", True)):
        assert found[mode, 2].key["adapter"]["transductive"] is transductive
        assert lines[mode].endswith("transductive") is transductive
