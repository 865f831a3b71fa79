"""Features of networks side by side are those of each, kept for each."""

import numpy as np
import pytest
import torch
from reference.commands import TINY, results, run

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.config import FewShotConfig
from fewshot_bn.eval import main
from fewshot_bn.experiment.source import open_source
from fewshot_bn.inputs.input_check import InputCheck
from fewshot_bn.results.reading import read_result

TWO = "card.toml+fractal_resnet8"


@pytest.fixture
def forwarded(monkeypatch):
    """How many images each backbone has seen in `Backbone.features`, by name."""
    seen = {}
    original = Backbone.features

    def counting(self, x):
        seen[self.name] = seen.get(self.name, 0) + len(x)
        return original(self, x)

    monkeypatch.setattr(Backbone, "features", counting)
    return seen


def open_two(here, model=TWO):
    return open_source(FewShotConfig(dataset="shapes", model=model), torch.device("cpu"))


def test_they_are_side_by_side_though_images_differ_in_size(here, own_cache):
    whole, a, b = (open_two(here, model) for model in (TWO, *TWO.split("+")))
    rows = np.array([[3, 28], [0, 3]])
    for source in (whole, a, b):
        list(source.features.compute(rows.ravel()))
    expected = torch.cat([a.features.gather(rows), b.features.gather(rows)], -1)
    torch.testing.assert_close(whole.features.gather(rows), expected, rtol=0, atol=0)


def test_what_members_have_computed_is_not_computed_again(here, own_cache, forwarded):
    for model in TWO.split("+"):
        assert run("--mode", "proto", "--model", model) == 0
    assert set(forwarded) == {"tiny", "fractal_resnet8"}
    forwarded.clear()
    assert run("--mode", "proto", "ridge", "--n-support", "1", "2", "3", "--n-query", "3", "--model", TWO) == 0
    assert not forwarded


def test_only_the_member_that_lacks_them_computes(here, own_cache, forwarded):
    list(open_two(here, "card.toml").features.compute(np.arange(20)))
    forwarded.clear()
    source = open_two(here)
    assert len(source.features.missing(np.arange(20))) == 20
    assert sum(source.features.compute(np.arange(20))) == 20
    assert set(forwarded) == {"fractal_resnet8"}
    assert not len(source.features.missing(np.arange(20)))


def test_the_input_check_of_each_member_sees_some_of_all_rows(here, own_cache, monkeypatch):
    seen = []
    monkeypatch.setattr(InputCheck, "order", lambda _, rows: seen.append(rows.tolist()) or rows)
    list(open_two(here).features.compute(np.arange(29)))
    assert seen == [list(range(29))] * 2


def test_a_backbone_that_is_given_takes_other_preprocessing_too(here):
    given = load_backbone(TWO, weights="random")
    config = FewShotConfig(dataset="shapes", model=given, preprocessing="mean=0.1/0.2/0.3")
    found = open_source(config, torch.device("cpu")).backbone
    assert {member.preprocessing.mean for member in found.members} == {(0.1, 0.2, 0.3)}


def test_a_result_tells_its_members(here, own_cache):
    assert run("--model", TWO, "--mode", "proto") == 0
    told = results(here / "results")["proto", 2].key["backbone"]["members"]
    assert [(member["name"], member["preprocessing"]["crop_px"]) for member in told] == [
        ("tiny", 16),
        ("fractal_resnet8", 32),
    ]


def test_tuning_them_needs_images_of_one_geometry(here, own_cache, capsys):
    assert run("--model", TWO, "--mode", "bn") == 2
    assert "--mode bn: tiny+fractal_resnet8: its members see images of different geometry" in capsys.readouterr().err
    assert run("--model", TWO, "--mode", "bn", "--preset", "cdfsl", "--image-size", "16") == 0


def test_many_shot_takes_them_too(here, own_cache):
    assert main(["--dataset", "shapes", "--model", TWO, "--regime", "many-shot", "--mode", "lr"]) == 0


def test_members_are_tuned_by_themselves_in_a_run(here, own_cache):
    asked = ["--model", TWO, "--mode", "bn", "--preset", "cdfsl", "--image-size", "16"]
    assert run(*asked) == 0
    quick = ["bn.steps=3", "bn.readout=ridge"]
    assert main(["--dataset", "shapes", *TINY, *asked, "--set", *quick, "bn.members=two-stage"]) == 0
    told = [read_result(path).key["adapter"] for path in (here / "results").glob("*_bn_*.json")]
    assert sorted(one["settings"].get("members", "joint") for one in told) == ["joint", "two-stage"]


def test_two_stages_need_members(here, capsys):
    assert run("--mode", "bn", "--set", "bn.members=two-stage") == 2
    assert "--mode bn: tiny: members=two-stage, but it is a single network" in capsys.readouterr().err
