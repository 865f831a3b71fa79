"""Whole studies on digits under one backbone, with two or three episodes; and what candidates and stages are."""

import dataclasses
import re

import pytest
from reference.places import SHARED, needs_shared

from benchmarks.studies import adaptation, experiments, probes, recipe, report, transductive
from benchmarks.studies.record import read
from fewshot_bn.adapters import ADAPTERS

ARGUMENTS = ["--data", str(SHARED / "data-dev"), "--weights", str(SHARED / "weights"), "--device", "cpu"]


def test_candidates():
    assert experiments.adapter_of("bn-plain") == ADAPTERS["bn-plain"]
    assert experiments.adapter_of("start") == experiments.START
    changed = experiments.adapter_of("start epochs=10 readout=lr+ridge")
    assert changed == dataclasses.replace(experiments.START, steps=0, epochs=10, readout="lr+ridge")
    stages = [stage for part in adaptation.PARTS.values() for stage in part]
    names = [*probes.candidates(), *recipe.CANDIDATES, *(name for stage in stages for name in stage.candidates)]
    assert len({(name.split()[0], experiments.adapter_of(name)) for name in probes.candidates()}) == 34
    assert all(experiments.adapter_of(name) for name in names)


def test_a_stage_is_an_experiment_for_each_dataset_and_backbone(tmp_path):
    args = experiments.parser("A study.").parse_args([*ARGUMENTS, "--output", str(tmp_path)])
    found = list(recipe.PUBLISHED_TARGETS[1].experiments(args))
    assert [(config.dataset, config.model.split("/")[-1]) for config in found[:2]] == [
        ("eurosat", "mobilenet_v2_035.toml"),
        ("eurosat", "resnet20.toml"),
    ]
    assert (len(found), found[0].n_support, found[0].n_episodes, found[0].seed) == (6, (5,), 12, 0)
    assert found[0].output == tmp_path / "targets"
    assert list(found[0].modes) == ["bn-all", "bn-cdfsl"]
    args.n_episodes = 2
    gtsrb = next(recipe.CONFIRMATION.experiments(args))
    assert (gtsrb.dataset, gtsrb.n_episodes, gtsrb.seed) == (str(SHARED / "data-dev" / "gtsrb"), 2, 1)


@needs_shared
@pytest.mark.full
def test_the_probe_study(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "DATASETS", ("digits",))
    monkeypatch.setattr(probes, "BACKBONES", ("resnet20",))
    monkeypatch.setattr(probes, "SHOTS", (1, 2))
    names = [probes.REFERENCE, "proto scaling=raw", "ridge scaling=l2"]
    for n in (2, 3):
        monkeypatch.setattr(probes, "candidates", lambda n=n: iter(names[:n]))
        assert probes.main([*ARGUMENTS, "--n-episodes", "3", "--output", str(tmp_path / "study")]) == 0
    runs = read(tmp_path / "study" / "record.npz")
    found = {(run.candidate, run.n_support, len(run.correct)) for run in runs}
    assert found == {(name, k, 3) for name in names for k in (1, 2)}
    table = (tmp_path / "study" / "README.md").read_text()
    assert all(table.count(f"| `{name}` |") == 2 for name in names)
    assert table.count(f"| `{names[0]}` | +0.00 ± 0.00 |") == 2
    assert "--output FOLDER" in table
    assert str(tmp_path) not in table


def test_each_candidate_of_the_transductive_search_is_another_adapter():
    adapters = {name: experiments.adapter_of(name) for name in transductive.SEARCHED}
    assert all(adapters[name].transductive for name in transductive.SEARCHED if name not in transductive.REFERENCES)
    assert len(set(adapters.values())) == len(transductive.SEARCHED)


@needs_shared
@pytest.mark.full
def test_the_study_of_transductive_modes(tmp_path, monkeypatch):
    searched = ("proto", "lr", "laplacian", "laplacian strength=0.1")
    monkeypatch.setattr(transductive, "DATASETS", ("digits",))
    monkeypatch.setattr(transductive, "BACKBONES", ("resnet20",))
    monkeypatch.setattr(transductive, "STAGES", {"search": (0, searched), "confirmation": (1, searched[:3])})
    assert transductive.main([*ARGUMENTS, "--n-episodes", "3", "--output", str(tmp_path / "study")]) == 0
    runs = read(tmp_path / "study" / "record.npz")
    assert {(run.stage, run.seed, run.candidate, run.n_support) for run in runs} == {
        (stage, seed, name, k) for stage, (seed, names) in transductive.STAGES.items() for name in names for k in (1, 5)
    }
    tables = (tmp_path / "study" / "README.md").read_text()
    assert tables.count("| `proto` | +0.00 ± 0.00 |") == 2
    confirmed = {(run.candidate, run.n_support): run.correct.mean() for run in runs if run.stage == "confirmation"}
    for k in (1, 5):
        difference = 100 * (confirmed["laplacian", k] - confirmed["lr", k]) / 75
        assert f" {difference:+.2f} ± " in tables.rpartition("| `laplacian` |")[2]


@pytest.fixture
def small_study(monkeypatch):
    """Digits and targets that are digits too, one backbone, the cheapest recipes."""
    plain, published = "bn-plain steps=2", "bn-all epochs=1"
    drawn, probes_, recipes = ("lr", plain, "bn"), ("lr", "proto"), ("start steps=1", "start steps=0", plain)

    def stage(name, seed, n, candidates, shots=(1,), **more):
        return recipe.Stage(name, ("digits",), seed, shots, n, candidates, **more)

    small = {
        "BACKBONES": ("resnet20",),
        "PROBES": probes_,
        "UNTUNED": ("start steps=0",),
        "DRAWN": drawn,
        "SEARCH": stage("search", 0, 2, (*probes_, *recipes)),
        "FINAL": stage("final", 0, 2, (*probes_, "start steps=1")),
        "CONFIRMATION": stage("confirmation", 1, 2, (*probes_, "bn", "start steps=0"), (1, 2)),
        "TARGET": stage("targets", 0, 2, (*probes_, "bn", "start steps=0")),
        "PUBLISHED_TARGETS": (stage("published", 0, 2, (published,), folder="targets"),),
        "PLAIN": plain,
        "CANDIDATES": (*probes_, "bn", *recipes, published),
    }
    parts = {"search": ("SEARCH", "FINAL"), "confirm": ("CONFIRMATION",), "targets": ("TARGET",)}
    small["PARTS"] = {part: tuple(small[name] for name in names) for part, names in parts.items()}
    small["PARTS"]["targets"] += small["PUBLISHED_TARGETS"]
    small["PARTS"]["cost"] = tuple(stage(f"cost {k}", 0, 1, drawn, (1, 2)) for k in (1, 2))
    for name, value in small.items():
        monkeypatch.setattr(recipe, name, value)


@needs_shared
@pytest.mark.nightly
def test_the_recipe_study(tmp_path, small_study):
    def study(part):
        assert recipe.main([part, *ARGUMENTS, "--output", str(tmp_path)]) == 0
        assert report.main([str(tmp_path)]) == 0
        return (tmp_path / "README.md").read_text()

    for part in ("search", "confirm", "targets"):
        text = study(part)
    assert not list(tmp_path.glob("*.png"))  # the costs are still unknown
    for title in ("Search: digits", "Final: digits", "Confirmation: digits", "Targets: digits", "Published: digits"):
        assert f"\n## {title}" in text
    assert text.count("`bn` is significantly above the best probe in ") == 2
    text = study("cost")
    assert re.search(r"^\| `bn-plain steps=2`, s \| \S+ \| \S+ \|$", text, re.MULTILINE)
    assert str(tmp_path) not in text
    for name in ("confirmation", "targets"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
