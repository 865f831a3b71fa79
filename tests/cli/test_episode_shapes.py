"""Episodes that are not all alike, from the command to files and back: run, stopped, sharded, listed, shown."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from reference.commands import assert_refused, runner, stopped_after

from fewshot_bn.cli import data
from fewshot_bn.eval import main
from fewshot_bn.experiment import few_shot
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.statistics import estimate

KINDS = {
    "meta-dataset": ["--episodes", "meta-dataset"],
    "linear": ["--n-way", "4", "--n-support", "2", "--n-query", "1", "--support-balance", "linear"],
    "dirichlet": ["--n-way", "3", "--n-support", "2", "--n-query", "2", "--query-alpha", "0.5"],
    "both": ["--n-way", "3", "--n-support", "2", "--n-query", "2", "--query-alpha", "2", "--support-balance", "random"],
}
every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(KINDS[name], id=name, marks=[pytest.mark.full] * (name != "both")) for name in KINDS]
)
QUICK = ["--set", "bn.steps=2", "bn.readout=ridge"]


@pytest.fixture
def six(here):
    """Six classes of 10 to 13 images."""
    rng = np.random.default_rng(np.random.Philox(7))
    for k in range(6):
        (here / "six" / f"class{k}").mkdir(parents=True)
        for i in range(10 + k % 4):
            pixels = rng.integers(0, 150, (16, 16, 3), dtype=np.uint8)
            pixels[..., k % 3] += np.uint8(40 + 20 * (k // 3))
            Image.fromarray(pixels).save(here / "six" / f"class{k}" / f"{i}.png")
    return here


def run(*arguments, modes=("proto",), n=5):
    options = ["--dataset", "six", "--model", "card.toml", "--mode", *modes, "--n-episodes", str(n)]
    return main([*options, *(QUICK if "bn" in modes else []), *arguments])


def found(folder):
    return {result.mode: result for result in map(read_result, sorted(folder.glob("*.json")))}


def answers(folder):
    """All that came out, the same to a rounding error."""
    return {
        mode: (r.correct, r.steps, r.episodes, r.by_class("support"), r.by_class("query"), r.measures["predicted"])
        for mode, r in found(folder).items()
    }


@pytest.mark.full
@every_kind
def test_every_mode_runs_and_each_episode_counts_the_same(six, capsys, kind):
    assert run(*kind, "--output", "one", modes=("proto", "bn")) == 0
    printed = capsys.readouterr().out
    assert printed.count("each episode counts the same") == 1
    for result in found(six / "one").values():
        accuracies = [c / sum(q) for c, q in zip(result.correct, result.by_class("query"), strict=True)]
        assert result.accuracies == accuracies
        mean = estimate(accuracies, result.n_queries).mean
        assert mean == pytest.approx(np.mean(accuracies))
        assert f"{100 * mean:.2f} ± " in printed
        assert all(min(counts) >= 1 for counts in result.by_class("support"))
    assert run(*kind, "--output", "two", "--chunk", "1", modes=("proto", "bn")) == 0
    assert answers(six / "one") == answers(six / "two")


@every_kind
def test_a_run_that_is_stopped_goes_on(six, monkeypatch, kind):
    with monkeypatch.context() as patch:
        patch.setattr(few_shot, "evaluate", stopped_after(2, few_shot.evaluate))
        assert run(*kind, "--chunk", "1") == 130
    assert [len(result) for result in found(six / "results").values()] == [2]  # the baseline is the first
    assert run(*kind) == 0
    assert run(*kind, "--output", "whole") == 0
    assert answers(six / "results") == answers(six / "whole")


@every_kind
def test_shards_merge_into_the_result_of_one_run(six, kind):
    for index in (1, 2, 3):
        assert run(*kind, "--output", "shards", "--shard", f"{index}/3") == 0
    shards = sorted((six / "shards").glob("*.json"))
    assert run(*kind, "--output", "shards") == 0
    for path in shards:
        path.unlink()
    assert run(*kind, "--output", "whole") == 0
    assert answers(six / "shards") == answers(six / "whole")


@every_kind
def test_a_list_of_them_is_written_checked_run_and_shown(six, capsys, kind):
    verb = runner(data.main, capsys)
    status, out, _ = verb("episodes", "six", *kind, "--n-episodes", 5, "--output", "list.jsonl")
    assert (status, out.splitlines()[1]) == (
        0,
        "run them: python -m fewshot_bn.eval --dataset six --episodes list.jsonl",
    )
    assert verb("episodes", "six", "--verify", "list.jsonl")[:2] == (
        0,
        "list.jsonl: 5 episodes that vary in their numbers of images of six: nothing is wrong\n",
    )
    assert run("--episodes", "list.jsonl", "--output", "listed") == 0
    assert run(*kind) == 0
    assert answers(six / "listed") == answers(six / "results")
    result = next((six / "results").glob("*_proto_*.json"))
    assert verb("show", "six", "--result", result, "--episode", 3, "--output", "sheet.png")[0] == 0
    assert_refused(verb("episodes", "six", *kind, "--output", "list.csv"), "list.csv: in a table, .* a file .jsonl")


def test_a_list_that_is_not_what_its_seed_gives_is_told(six, capsys):
    verb = runner(data.main, capsys)
    for kind in (KINDS["meta-dataset"], KINDS["both"]):
        verb("episodes", "six", *kind, "--n-episodes", 4, "--output", "list.jsonl")
        header, *lines = (six / "list.jsonl").read_text().splitlines()
        (six / "list.jsonl").write_text("\n".join([header, lines[0], lines[2], lines[1], lines[3]]))
        status, out, _ = verb("episodes", "six", "--verify", "list.jsonl")
        assert (status, out) == (1, "wrong: episode 1 is the first that is not what seed 0 gives\n")
        content = json.loads(lines[0])
        content["support"][0] = []
        (six / "list.jsonl").write_text("\n".join([header, json.dumps(content), *lines[1:]]))
        status, out, _ = verb("episodes", "six", "--verify", "list.jsonl")
        assert (status, out.splitlines()[0]) == (
            1,
            "wrong: episode 0: it lacks a second class, a query, or the support images of a class",
        )


def test_results_of_before_are_named_as_before_and_the_new_ones_say_their_kind(six):
    for kind in (["--n-way", "3", "--n-support", "2", "--n-query", "2"], *KINDS.values()):
        assert run(*kind, "--baseline", "none") == 0
    names = [re.sub(r"_[0-9a-f]{8}\.json", "", path.name) for path in (six / "results").glob("*.json")]
    assert sorted(names) == [
        "six_tiny_proto_3way_2shot_2query_alpha0.5_seed0",
        "six_tiny_proto_3way_2shot_2query_random-support_alpha2_seed0",
        "six_tiny_proto_3way_2shot_2query_seed0",
        "six_tiny_proto_4way_2shot_1query_linear-support_seed0",
        "six_tiny_proto_meta-dataset_seed0",
    ]


def test_a_result_whose_numbers_of_images_were_edited_is_damaged(six):
    assert run(*KINDS["meta-dataset"], "--baseline", "none") == 0
    path = next((six / "results").glob("*.json"))
    whole = json.loads(path.read_text())

    def edited(change):
        content = json.loads(json.dumps(whole))
        change(content["measures"])
        path.write_text(json.dumps(content))
        with pytest.raises(few_shot.ResultError) as caught:
            read_result(path)
        return str(caught.value)

    assert "damaged" in edited(lambda measures: measures.pop("n_query_by_class"))
    assert "how many images its classes have" in edited(lambda m: m["n_support_by_class"][0].__setitem__(0, 0))
    assert "how many images" in edited(lambda m: m["n_query_by_class"].__setitem__(0, [2**40, -(2**40), 5]))
    assert "predicted" in edited(lambda m: m["n_query_by_class"][0].__setitem__(0, 2**40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--episodes", "meta-dataset", "--n-way", "3"],
            "meta-dataset have shapes of their own; leave --n-way",
        ),
        (["--episodes", "meta-dataset", "--n-support", "1", "5"], "have shapes of their own"),
        (["--episodes", "meta-dataset", "--by-group"], "--by-group draws random episodes; it does not go with"),
        (["--episodes", "meta-dataset", "--query-alpha", "2"], "do not go with --episodes meta-dataset"),
        (["--episodes", "disjoint", "--support-balance", "linear"], "do not go with --episodes disjoint"),
        (["--by-group", "--support-balance", "linear"], "do not go with --by-group"),
        (["--support-balance", "linaer"], "--support-balance is 'linaer'; balanced, linear or random"),
        (["--support-balance", "linear", "--n-support", "1"], "needs --n-support of at least 2"),
        (["--query-alpha", "0"], "--query-alpha is 0; it must be above 0"),
        (["--query-alpha", "-1"], "--query-alpha is -1; it must be above 0"),
        (["--query-alpha", "nan"], "--query-alpha is nan; it must be above 0"),
        (["--query-alpha", "much"], "argument --query-alpha: invalid float value: 'much'"),
        (
            ["--n-way", "3", "--query-alpha", "2"],
            r"has 10 images .* have to give 50 \(5 support \+ 45 query",
        ),
        (
            ["--dataset", "shapes", "--episodes", "meta-dataset"],
            "3 classes; --episodes meta-dataset needs at least 5",
        ),
        (["--regime", "many-shot", "--query-alpha", "2"], "--query-alpha belongs to few-shot episodes"),
    ],
)
def test_bad_input_is_one_line(six, capsys, arguments, message):
    verb = runner(main, capsys)
    assert_refused(verb("--dataset", "six", "--model", "card.toml", "--mode", "lr", *arguments), message)


def test_a_list_of_them_has_no_other_shape_and_a_frozen_list_no_other_balance(six, capsys):
    verb = runner(data.main, capsys)
    verb("episodes", "six", *KINDS["both"], "--n-episodes", 4, "--output", "list.jsonl")
    assert_refused(
        verb("episodes", "six", "--episodes", "list.jsonl", "--n-support", "2"), "list.jsonl have shapes of their own"
    )
    assert_refused(verb("episodes", "eurosat", "--frozen", "--query-alpha", "2"), "do not go with --episodes list")


@pytest.mark.full
@pytest.mark.parametrize(
    "kind", [["--episodes", "meta-dataset"], ["--support-balance", "linear", "--query-alpha", "2"]], ids=str
)
def test_the_embedded_digits_killed_and_gone_on_with(tmp_path, capsys, kind):
    options = ["--mode", "proto", "--n-episodes", "6", *kind, "--quiet"]
    command = [sys.executable, "-m", "fewshot_bn.eval", *options, "--output", str(tmp_path / "killed"), "--chunk", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list((tmp_path / "killed").glob("*_lr_*.json")):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert main([*options, "--output", str(tmp_path / "killed")]) == 0
    assert main([*options, "--output", str(tmp_path / "whole")]) == 0
    assert answers(tmp_path / "killed") == answers(tmp_path / "whole")
    assert estimate(found(tmp_path / "whole")["lr"].accuracies).mean > 0.7
