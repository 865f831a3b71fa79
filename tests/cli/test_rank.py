"""The verb rank, on result files that are made without running anything, and once on results of real runs."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from reference.commands import assert_refused, runner
from reference.ranked import family, many_shot, result_of, seen, write, write_split
from scipy.stats import kendalltau

from fewshot_bn.rank import main

QUICK = ["--samples", "100"]


@pytest.fixture
def rank(capsys):
    return runner(main, capsys)


@pytest.fixture
def results(tmp_path):
    for made in family(10, 6):
        write(tmp_path / "results", made)
    return tmp_path / "results"


def test_the_table_and_the_plot_say_what_the_results_say(rank, results, tmp_path):
    status, out, err = rank(results, *QUICK, "--plot", tmp_path / "ranks.svg")
    assert (status, err) == (0, "")
    scores = {mode: [r.accuracy.mean for r in family(10, 6) if r.mode == mode] for mode in ("ft", "lr", "proto")}
    for mode in ("lr", "proto"):
        tau = kendalltau(scores[mode], scores["ft"]).statistic
        assert re.search(rf"^{mode} +Kendall's tau-b +{tau:.3f} +\[", out, re.M)
    assert "note:" not in out
    assert out.endswith(f"\nplot: {tmp_path / 'ranks.svg'}\n")
    assert ">b09<" in (tmp_path / "ranks.svg").read_text()


def test_json_alone_is_printed_if_it_is_asked_for(rank, results, tmp_path):
    status, out, err = rank(
        results, *QUICK, "--format", "json", "--seed", 7, "--metric", "accuracy", "--plot", tmp_path / "r.png"
    )
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["bootstrap"] == {"n_samples": 100, "seed": 7}
    assert list(found["rankings"][0]["proxies"]) == ["lr", "proto"]
    assert (tmp_path / "r.png").exists()


def test_the_same_command_prints_the_same(rank, results):
    first = rank(results, *QUICK)
    assert rank(results, *QUICK) == first
    assert rank(*reversed(list(results.iterdir())), *QUICK) == first
    assert rank(results, *QUICK, "--seed", 1)[1] != first[1]


def test_modes_reference_and_baseline_are_chosen(rank, results):
    _, out, _ = rank(results, *QUICK, "--reference", "lr", "--mode", "proto", "ft", "--baseline", "proto")
    assert "reference lr" in out
    assert re.search(r"^backbone +lr \(place\) +proto \(place\) +ft \(place\)", out, re.M)
    assert "tau-b less that of proto" in out
    assert "tau-b less" not in rank(results, *QUICK, "--baseline", "none")[1]
    assert "tau-b less" not in rank(results, *QUICK, "--mode", "proto")[1]


def test_what_is_left_out_is_said_below_the_tables(rank, results):
    (results / "other.json").write_text("{}")
    for made in family(7, 4, shape={"n_support": 5}):
        write(results, made)
    write_split(results, many_shot("ft", "b00", 0.5))
    _, out, _ = rank(results, *QUICK)
    *_, notes = out.split("\n\n")
    assert [line.partition(": ")[0] for line in notes.splitlines()] == ["note"] * 4
    assert "left out, as they are no results: " in notes
    assert "many-shot, 30 training and 20 test images, seed 0 is left out: no result of a mode to compare" in notes
    assert "5-shot, 4 queries, seed 0: 7 backbones are few" in notes
    assert "no mean over few-shot tasks" in notes


def test_means_over_tasks(rank, results):
    for made in family(10, 6, seed=1, shape={"n_support": 5}):
        write(results, made)
    _, out, _ = rank(results, *QUICK)
    assert "mean over 2 few-shot tasks: accuracy of 10 backbones" in out
    assert "mean scores of 2 few-shot tasks: accuracy of 10 backbones" in out


def test_many_shot_results_are_ranked(rank, tmp_path):
    rng = np.random.default_rng(np.random.Philox(1))
    right = rng.random((2, 10, 20)) < np.linspace(0.4, 0.9, 10)[:, None]
    for mode, rows in zip(("ft", "lr"), right.tolist(), strict=True):
        for b, row in enumerate(rows):
            write_split(tmp_path, seen(mode, f"b{b}", row))
    status, out, _ = rank(tmp_path, *QUICK)
    assert status == 0
    tau = kendalltau(*right.mean(-1)).statistic
    assert re.search(rf"^lr +Kendall's tau-b +{tau:.3f} +\[.*\] +\[.*\] +\[.*\]$", out, re.M)
    assert "over test images" in out
    assert "note" not in out


def test_older_many_shot_results_are_ranked_over_backbones(rank, tmp_path):
    for b in range(10):
        for mode, score in (("ft", 0.5 + b / 40), ("lr", 0.5 + b % 4 / 40)):
            write_split(tmp_path, many_shot(mode, f"b{b}", score))
    status, out, _ = rank(tmp_path, *QUICK)
    assert status == 0
    assert re.search(r"Kendall's tau-b +0\.\d+ +\[.*\] +- +-$", out, re.M)
    assert "no intervals over test images" in out


def test_results_of_other_settings_are_chosen_by_match(rank, results):
    for made in family(10, 6):
        if made.mode == "lr":
            made.key["adapter"]["settings"] = {"steps": 7}
            write(results, made)
    assert_refused(rank(results, *QUICK), r"are both of lr on b00 in one task, but steps is .* --match lr\.steps=")
    one, other = (rank(results, *QUICK, "--match", f"lr.steps={n}") for n in (7, 50))
    assert one[0] == other[0] == 0
    assert one[1] == other[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RESULTS"),
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["results", "--reference", "bn"], "unknown reference, .* 'bn'; choose from: ft, lr, proto"),
        (["results", "--mode", "lt"], r"unknown mode, .* 'lt' \(did you mean 'l?ft|'lr"),
        (["results", "--baseline", "ft"], "unknown baseline 'ft'.*; choose from: lr, proto, none"),
        (["results", "--metric", "auc"], r"b00_ft_.*\.json: ft: 6 of 6 episodes are from before auc was measured"),
        (["results", "--metric", "top1"], "unknown metric 'top1'"),
        (["results", "--match", "lr"], "--match 'lr' is not of the form MODE.SETTING=VALUE"),
        (["results", "--match", "lr.steps=3"], "--match lr.steps=3: no result of lr has that, but 50"),
        (["results", "--samples", "99"], "argument --samples: '99' is not a whole number of at least 100"),
        (["results", "--samples", "100001"], "--samples is 100001; at most 100000 are drawn"),
        (["results", "--seed", str(2**63)], "seed is 9223372036854775808; it must be between"),
        (["results", "--seed", "-1"], "argument --seed"),
        (["results", "--format", "html"], "argument --format: invalid choice"),
        (["results", "--plot", "ranks.gif"], r"--plot ranks\.gif: its name must end in \.png, \.svg, \.pdf"),
        (["results", "--plot", "results/x.svg/y.svg"], "cannot be written"),
        (["few"], r"4 backbones \(b00, b01, b02, b03\) have all of ft, lr, proto, at least 5 are needed"),
        (["ft"], "all results are of ft, the reference"),
        (["empty"], "no result file"),
        (["damaged"], "not a whole result file"),
        (["x.json"], "x.json: is no result file"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(rank, results, monkeypatch, arguments, message):
    monkeypatch.chdir(results.parent)
    for made in family(4, 2):
        write(results.parent / "few", made)
    write(results.parent / "ft", result_of("ft", "net", [3]))
    (results / "x.svg").write_text("")
    (results.parent / "empty").mkdir()
    (results.parent / "damaged").mkdir()
    (results.parent / "damaged" / "x.json").write_text('{"format": 3, "identity"')
    (results.parent / "x.json").write_text("{}")
    assert_refused(rank(*arguments), message)


def test_help_is_quick():
    code = "import fewshot_bn.rank, sys; sys.argv = ['rank', '--help']\ntry: fewshot_bn.rank.main()\n"
    code += "finally: print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    assert "--reference MODE" in shown.stdout
    assert "python -m fewshot_bn.rank results" in shown.stdout


@pytest.mark.full
def test_matplotlib_is_imported_for_a_plot_alone(results):
    code = f"import sys\nfrom fewshot_bn.rank import main\nmain([{str(results)!r}, '--samples', '100'])\n"
    code += "print('matplotlib' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "False"
