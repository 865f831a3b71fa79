"""Shards of a run: each an endless list of its own, together the whole."""

import itertools
import json

import pytest
from reference.commands import answers, run

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.errors import UsageError
from fewshot_bn.results.files import ResultFile
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Result, Run
from fewshot_bn.results.shards import Shard, find_shards, merged, parse_shard


def first(n):
    """Episodes of the folder `shapes`."""
    return sample([12, 9, 8], EpisodeShape(3, 2, 4), seed=0, n_episodes=n)


def shard(index, count, n, *, runs=1):
    """A result whose episodes carry their own number within the whole list."""
    numbers = list(range(index - 1, index - 1 + n * count, count))
    ends = [n * k // runs for k in range(runs + 1)]
    made = tuple(Run(a, b, float(b - a), "cpu", {}) for a, b in itertools.pairwise(ends) if b > a)
    identity = {"seed": 0, "shard": f"{index}/{count}"}
    measures = {"nll": tuple(float(i) for i in numbers)} if n else {}
    return Result(identity, tuple(numbers), (True,) * n, tuple(numbers), measures, "", made)


@pytest.mark.parametrize(
    ("lengths", "n"), [((4, 4, 4), 12), ((4, 4, 3), 11), ((4, 3, 3), 10), ((4, 1, 4), 4), ((0, 4, 4), 0), ((5, 5), 10)]
)
def test_merging_takes_what_lies_before_the_first_gap(lengths, n):
    count = len(lengths)
    shards = [shard(i + 1, count, length, runs=2) for i, length in enumerate(lengths)]
    result = merged(shards[::-1])
    assert result.correct == result.steps == result.measures["nll"] == tuple(range(n))
    assert "shard" not in result.key
    assert [run.start for run in result.runs] == [0, *(run.stop for run in result.runs)][:-1] if n else not result.runs
    assert sum(run.stop - run.start for run in result.runs) == n
    assert sum(run.seconds for run in result.runs) == pytest.approx(n)


def test_a_shard_that_is_not_there_is_a_gap():
    assert len(merged([shard(1, 3, 4), shard(3, 3, 4)])) == 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2", ""])
def test_what_is_no_shard(text):
    with pytest.raises(UsageError, match="--shard is .*; it must be i/k with i from 1 to k"):
        parse_shard(text)


def test_a_shard_is_every_kth_episode():
    assert list(range(10))[Shard(2, 4).part] == [1, 5, 9]


def test_shards_of_the_command_merge_into_the_result_of_one_run(here, capsys):
    assert run("--mode", "proto", "bn", "--n-episodes", "7", "--output", "whole") == 0
    for index in (3, 1, 2):
        assert run("--mode", "proto", "bn", "--n-episodes", "7", "--output", "parts", "--shard", f"{index}/3") == 0
    assert "shard 2/3" in capsys.readouterr().err
    assert run("--mode", "proto", "bn", "--n-episodes", "7", "--output", "parts") == 0
    assert "note: bn 2-shot: 7 episodes are merged from 3 shards" in capsys.readouterr().err
    for path in (here / "parts").glob("*_shard*.json"):
        path.unlink()
    assert answers(here / "parts") == answers(here / "whole")


def test_shards_go_on_and_the_rest_is_computed(here, capsys):
    assert run("--mode", "bn", "--baseline", "none", "--n-episodes", "8", "--output", "whole") == 0
    for n in ("4", "6"):
        for index in (1, 2):
            options = ("--mode", "bn", "--baseline", "none", "--output", "parts", "--shard", f"{index}/2")
            assert run(*options, "--n-episodes", n) == 0
    assert run("--mode", "bn", "--baseline", "none", "--n-episodes", "8", "--output", "parts") == 0
    (whole,) = (read_result(path) for path in (here / "whole").glob("*.json"))
    (path,) = (path for path in (here / "parts").glob("*.json") if "_shard" not in path.name)
    result = read_result(path)
    assert (result.correct, result.episodes) == (whole.correct, whole.episodes)
    assert result.runs[-1].start == 6
    assert len(find_shards(here / "parts", result.key, first)) == 2


def test_a_shard_without_episodes_is_an_error(here, capsys):
    assert run("--n-episodes", "2", "--shard", "3/3") == 2
    assert "--shard 3/3 of 2 episodes is empty; raise --n-episodes" in capsys.readouterr().err


def test_a_file_that_is_not_the_shard_of_its_name_is_an_error(here, capsys):
    assert run("--mode", "bn", "--baseline", "none", "--n-episodes", "2", "--shard", "1/2") == 0
    (path,) = (here / "results").glob("*_shard1of2.json")
    content = json.loads(path.read_text())
    content["identity"]["seed"] = 5
    path.write_text(json.dumps(content))
    assert run("--mode", "bn", "--baseline", "none", "--n-episodes", "2") == 2
    assert "is not the shard that its name says; move it away" in capsys.readouterr().err


def shards_of_bn(folder, n_episodes, indices, count):
    for index in indices:
        options = ("--mode", "bn", "--baseline", "none", "--n-episodes", str(n_episodes))
        assert run(*options, "--output", str(folder), "--shard", f"{index}/{count}") == 0
    return sorted(folder.glob("*_shard*.json"))


def test_what_shards_lack_is_said_and_not_computed_again(here, capsys):
    shards_of_bn(here / "parts", 12, (1, 3, 4), 4)
    merge = ("--mode", "bn", "--baseline", "none", "--output", "parts", "--n-episodes")
    assert run(*merge, "12") == 2
    assert "its shards are not complete: 2/4 is missing; finish them" in capsys.readouterr().err
    assert run(*merge, "1") == 0
    shards_of_bn(here / "parts", 4, (2,), 4)
    assert run(*merge, "12") == 2
    assert "2/4 has 1 episodes" in capsys.readouterr().err
    shards_of_bn(here / "parts", 12, (2,), 4)
    assert run(*merge, "12") == 0
    assert run(*merge, "13") == 0  # beyond all shards it goes on by itself


def test_a_copied_shard_and_one_of_other_episodes_are_errors(here, capsys):
    first, second = shards_of_bn(here / "parts", 4, (1, 2), 2)
    kept = second.read_text()
    second.write_text(first.read_text())
    merge = ("--mode", "bn", "--baseline", "none", "--output", "parts", "--n-episodes", "4")
    assert run(*merge) == 2
    assert "is not the shard that its name says" in capsys.readouterr().err
    content = json.loads(kept)
    second.write_text(json.dumps({**content, "episodes": "deadbeef"}))
    assert run(*merge) == 2
    assert "its episodes are not those of this dataset and seed" in capsys.readouterr().err


def test_the_journal_of_a_shard_that_was_killed_counts(here, capsys, monkeypatch):
    options = ("--mode", "proto", "--baseline", "none", "--n-episodes", "9", "--output", "parts", "--chunk", "1")
    with monkeypatch.context() as killed:
        killed.setattr("fewshot_bn.results.files.GROWTH", 1e9)  # after the first chunk all goes into the journal
        killed.setattr("fewshot_bn.results.files.WRITE_S", 1e9)
        killed.setattr(ResultFile, "complete", lambda self: None)
        for index in (1, 2, 3):
            assert run(*options, "--shard", f"{index}/3") == 0
    assert [len(read_result(path)) for path in sorted((here / "parts").glob("*_shard*.json"))] == [1, 1, 1]
    assert run(*options) == 0
    assert "9 episodes are merged from 3 shards" in capsys.readouterr().err
    assert run("--mode", "proto", "--baseline", "none", "--n-episodes", "9", "--output", "whole") == 0
    (whole,) = (read_result(path) for path in (here / "whole").glob("*.json"))
    (found,) = (read_result(path) for path in (here / "parts").glob("*.json") if "_shard" not in path.name)
    assert (found.correct, found.episodes) == (whole.correct, whole.episodes)


def test_more_shards_than_episodes_there_may_be_are_refused():
    assert parse_shard("1/1000000") == Shard(1, 1_000_000)
    with pytest.raises(UsageError, match="--shard is '1/1000001'; .* k at most 1,000,000"):
        parse_shard("1/1000001")


@pytest.mark.parametrize(("shard", "n", "reach"), [("1/3", 0, 0), ("1/3", 1, 1), ("3/3", 2, 6), ("2/4", 3, 10)])
def test_how_far_a_shard_reaches_into_the_whole(shard, n, reach):
    found = parse_shard(shard)
    assert found.reach(n) == reach
    assert len(range(reach)[found.part]) == n
