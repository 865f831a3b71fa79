"""Result files and journals: what comes out of a damaged one is what was in it, or an error."""

import json

from fuzz.mutations import as_json, damaged, digit_changed, hostile
from fuzz.trial import survive, tiers

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.results.files import open_result
from fewshot_bn.results.journal import journal_of
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.many_shot_files import read_many_shot, write_many_shot
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Run

N = 4
SUBJECT = {"dataset": {"name": "my data"}, "backbone": {"name": "net"}, "seed": 3}
KEY = {**SUBJECT, "adapter": {"name": "bn"}, "shape": {"n_way": 2, "n_support": 1, "n_query": 1}}
WHOLE = sample([9] * 6, EpisodeShape(2, 1, 1), seed=3, n_episodes=40)
MANY_SHOT = ManyShotResult(
    key={**SUBJECT, "adapter": {"name": "lr", "settings": {"n_values": 2}}, "split": {"test": 3}},
    metric="top-1",
    path=[{"C": 1.0, "top-1": 0.5, "converged": True}, {"C": 2.0, "top-1": 0.75, "converged": False}],
    C=2.0,
    converged=False,
    test={"top-1": 0.625},
    test_half_widths={"top-1": 0.125},
    predictions=[0, 1, 1],
    run={"seconds": 1.5, "device": "cpu"},
)


def first(n):
    return WHOLE[:n]


def outcome(place):
    measures = {"nll": (place / 8,), "gaps": ((0.5, -0.25),), "predicted": ((0, 0),)}
    return Outcome((1,), (place % 2 == 0,), (place,), 1.0, measures)


def add(file, places):
    for place in places:
        file.add(outcome(place), Run(0, place + 1, 1.0 + place, "cpu", {"torch": "1"}))


def numbers_of(result):
    """What came out, with lists for tuples."""
    return json.loads(json.dumps([result.correct, result.converged, result.steps, result.measures]))


def changed(rng, content, *, lines=False):
    """Of a journal, one of its lines."""
    how = rng.random()
    if how < 0.5:
        return (damaged if how < 0.25 else digit_changed)(rng, content)
    if not lines:
        return as_json(hostile(rng, json.loads(content)))
    parts = content.splitlines()
    place = int(rng.integers(len(parts)))
    parts[place] = as_json(hostile(rng, json.loads(parts[place])))
    return b"\n".join([*parts, b""])


@tiers(20, 900)
def test_results(tmp_path, numbers):
    with open_result(tmp_path, KEY, first) as file:
        add(file, range(N))
    content, right = file.path.read_bytes(), numbers_of(read_result(file.path))

    def trial(rng):
        file.path.write_bytes(changed(rng, content))
        assert numbers_of(read_result(file.path)) == right
        with open_result(tmp_path, KEY, first) as again:
            assert numbers_of(again.result) == right

    survive(trial, numbers)


@tiers(20, 600)
def test_journals(tmp_path, numbers, monkeypatch):
    monkeypatch.setattr("fewshot_bn.results.files.GROWTH", 1e9)
    monkeypatch.setattr("fewshot_bn.results.files.WRITE_S", 1e9)
    with open_result(tmp_path, KEY, first) as file:
        add(file, range(N))
        written, journal = file.path.read_bytes(), journal_of(file.path).read_bytes()
        right = numbers_of(file.result)
    assert journal.count(b"\n") == N - 1
    n_kept = []

    def trial(rng):
        file.path.write_bytes(written)
        journal_of(file.path).write_bytes(changed(rng, journal, lines=True))
        with open_result(tmp_path, KEY, first) as again:
            n = len(again.result)
            assert numbers_of(again.result) == numbers_of(whole[:n])
        n_kept.append(n)
        file.path.write_bytes(changed(rng, written))
        read_result(file.path)

    whole = read_result(file.path)
    assert numbers_of(whole) == right
    survive(trial, numbers)
    assert len(set(n_kept)) > 1  # it was damaged in several places
    assert set(n_kept) <= {1, 2, 3, 4}


@tiers(20, 600)
def test_many_shot_results(tmp_path, numbers):
    path = tmp_path / "r.json"
    write_many_shot(path, MANY_SHOT)
    content = path.read_bytes()
    names = ("path", "C", "test", "test_half_widths", "predictions")
    assert read_many_shot(path) == MANY_SHOT

    def trial(rng):
        path.write_bytes(changed(rng, content))
        found = read_many_shot(path)
        assert all(getattr(found, name) == getattr(MANY_SHOT, name) for name in names)

    survive(trial, numbers)
