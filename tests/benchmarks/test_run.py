"""Suites: what is run, and that the others go on if one fails; and where scripts are found."""

import importlib.util

from reference.places import ROOT

from benchmarks import run


def test_a_suite_is_every_combination_of_its_lists():
    suite = {"dataset": "digits", "model": [["a"], ["b"]], "n-support": [1, 5], "seed": [[0], [1]]}
    found = list(run.commands(suite))
    assert len(found) == 4
    assert found[1] == ["--dataset", "digits", "--model", "a", "--n-support", "1", "5", "--seed", "1"]


def test_a_suite_runs_and_a_failing_run_does_not_stop_the_others(tmp_path, capsys):
    suite = tmp_path / "suite.toml"
    suite.write_text('n-way = [[11], [2]]\nmode = "proto"\nn-episodes = 2\n')
    assert run.main([str(suite), "--baseline", "none", "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert "n_way is 11, but there are only 10 classes" in printed.err
    assert printed.out.count("result: ") == 1


def test_scripts_are_found_in_their_package_only():
    names = {path.stem for path in (ROOT / "benchmarks").rglob("*.py")} - {"__init__"}
    assert [name for name in sorted(names) if importlib.util.find_spec(name)] == []
