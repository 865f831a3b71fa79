"""One call runs an experiment: what it yields, and that programs get what the command line gets."""

import doctest
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.commands import results, run

import fewshot_bn
from fewshot_bn import experiment
from fewshot_bn.adapters import make_adapter
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.config import FewShotConfig, ManyShotConfig
from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.events import Note, Progress
from fewshot_bn.experiment.events import Adapting, Done, Started

SMALL = {"dataset": "shapes", "model": "card.toml", "n_way": 3, "n_support": (2,), "n_query": 4, "n_episodes": 6}


def test_the_example_in_the_docstring_is_true(tmp_path):
    found = doctest.testmod(experiment, extraglobs={"folder": tmp_path})
    assert found.attempted >= 3
    assert not found.failed


def test_it_is_what_the_command_does(here):
    modes = {"proto": make_adapter("proto"), "bn": make_adapter("bn", steps=3, readout="ridge")}
    found = experiment.results(FewShotConfig(**SMALL, modes=modes, output=here / "own"))
    assert run("--mode", "proto", "bn") == 0
    expected = results(here / "results")
    assert [result.mode for result in found] == ["lr", "proto", "bn"]
    assert [result.correct for result in found] == [expected[result.mode, 2].correct for result in found]
    names = [{path.name for path in folder.glob("*.json")} for folder in (here / "own", here / "results")]
    assert names[0] == names[1]


def test_datasets_backbones_and_adapters_may_be_objects(here):
    config = FewShotConfig(**SMALL, modes=["proto"], output=here / "names")
    objects = replace(config, dataset=open_dataset("shapes"), model=load_backbone("card.toml"), output=here / "objects")
    objects = replace(objects, modes={"my name": make_adapter("proto")}, baseline=None)
    (found,) = experiment.results(objects)
    assert found.correct == experiment.results(config)[1].correct
    assert found.mode == "my name"


@pytest.mark.full
def test_what_a_notebook_has_set_in_torch_changes_nothing(here, own_cache, monkeypatch):
    modes = {"bn": make_adapter("bn", steps=2), "ridge": make_adapter("ridge")}
    config = FewShotConfig(**SMALL, modes=modes, output=here / "plain")
    expected = experiment.results(config)
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(here / "another cache"))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            found = experiment.results(replace(config, output=here / "disturbed"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert [result.measures for result in found] == [result.measures for result in expected]


def test_events_say_how_far_it_is(here, own_cache):
    config = FewShotConfig(**SMALL, modes=["proto"], baseline=None, chunk=2)
    events = list(experiment.run(config))
    assert isinstance(events[0], Started)
    assert events[0].headline.startswith("shapes (29 images, 3 classes), tiny (weights.pth) at 16 px; 3-way, 4 queries")
    steps = [event for event in events if isinstance(event, Progress)]
    assert [step.done for step in steps if isinstance(step, Adapting)] == [0, 2, 4, 6]
    features = [step for step in steps if step.title == "frozen features"]
    assert features[0].done == 0
    assert features[-1].done == features[-1].total > 0
    assert steps[-1].accuracy.n == 6
    (done,) = [event for event in events if isinstance(event, Done)]
    assert done is events[-1]
    assert done.path == steps[-1].kept_in
    again = list(experiment.run(config))
    assert [type(event) for event in again] == [Started, Done]
    assert again[-1].result.correct == done.result.correct


def test_a_run_that_is_left_in_the_middle_keeps_what_it_has_and_lets_others_go_on(here):
    config = FewShotConfig(**SMALL, modes=["proto"], baseline=None, chunk=2)
    for event in experiment.run(config):
        if isinstance(event, Adapting) and event.done == 4:
            break
    (result,) = experiment.results(config)
    assert [part.stop for part in result.runs] == [4, 6]


def test_notes_are_those_of_the_data(here):
    config = FewShotConfig(**SMALL, modes=["proto"])
    assert not [event for event in experiment.run(config) if isinstance(event, Note)]
    (here / "shapes" / "c" / "notes.txt").write_text("no image")
    notes = [event.text for event in experiment.run(config) if isinstance(event, Note)]
    assert any("1 file left out: 1 .txt" in note for note in notes)


def test_many_shot_is_another_config(here):
    (found,) = experiment.results(ManyShotConfig(dataset="shapes", model="card.toml"))
    assert found.key["adapter"]["name"] == "lr"
    assert 0 <= found.test["top-1"] <= 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"modes": ["bm"]}, UsageError, r"unknown mode 'bm' \(did you mean 'bn'\?\)"),
        ({"baseline": "lrr"}, UsageError, "unknown mode 'lrr'"),
        ({"modes": [], "baseline": None}, UsageError, "modes is empty; name at least one mode"),
        ({"metrics": []}, UsageError, "metrics is empty; name at least one of accuracy, nll, mean-per-class, auc, f1"),
        ({"metrics": "aoc"}, UsageError, r"unknown metric 'aoc' \(did you mean 'auc'\?\)"),
        ({"metrics": [3]}, UsageError, "a metric is 3; a name is needed: accuracy"),
        ({"n_way": 1}, UsageError, "n_way is 1; a whole number of at least 2 is needed"),
        ({"n_support": (0,)}, UsageError, "n_support is 0"),
        ({"chunk": 0}, UsageError, "chunk is 0; a whole number of at least 1 is needed"),
        ({"n_episodes": 0}, UsageError, "n_episodes is 0"),
        ({"output": "card.toml"}, ResultError, "the output folder card.toml cannot be written"),
    ],
)
def test_bad_values_are_told_as_by_the_command(here, changes, error, message):
    with pytest.raises(error, match=message):
        experiment.results(FewShotConfig(**{**SMALL, "modes": ["proto"], **changes}))


def test_one_number_of_shots_and_folders_as_text_are_taken(here):
    config = FewShotConfig(**SMALL, output="results")
    assert replace(config, n_support=2) == config
    assert config.output == Path("results")


def test_it_is_a_public_name():
    assert fewshot_bn.run is experiment.run
