"""How often an image goes through the network to make features: once in all, whatever is made of them."""

from collections import Counter

import pytest
from reference.commands import answers, run

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, Plan


@pytest.fixture
def forwarded(monkeypatch):
    """How often each image went through the network; those that fill up a batch are of one colour."""
    counts, features = Counter(), Backbone.features

    def counted(self, x):
        counts.update(image.numpy().tobytes() for image in x if image.std(dim=(1, 2)).max() > 0)
        return features(self, x)

    monkeypatch.setattr(Backbone, "features", counted)
    return counts


def rows_of(shots):
    dataset = open_dataset("shapes")
    return {row for k in shots for row in Plan().draw(dataset, EpisodeShape(3, k, 4), 6).rows.tolist()}


@pytest.mark.full
def test_three_shots_and_three_probes_forward_each_image_once(here, own_cache, forwarded):
    assert run("--mode", "proto", "lr", "ridge", "--n-support", "1", "2", "3", "--baseline", "none") == 0
    assert len(answers(here / "results")) == 9
    assert len(forwarded) == len(rows_of([1, 2, 3]))
    assert set(forwarded.values()) == {1}


@pytest.mark.parametrize("again", [["--mode", "lda"], ["--mode", "proto", "--seed", "1", "--n-support", "1"]])
def test_a_second_evaluation_forwards_no_image(here, own_cache, forwarded, again):
    assert run("--mode", "proto", "lr", "--n-episodes", "30", "--output", "first") == 0
    assert len(forwarded) == len(open_dataset("shapes"))
    forwarded.clear()
    assert run(*again, "--output", "second") == 0
    assert not forwarded


@pytest.mark.full
def test_many_shot_forwards_each_image_once_for_all_classifiers(here, own_cache, forwarded):
    def evaluate(*arguments):
        from fewshot_bn.eval import main

        many = ["--regime", "many-shot", "--dataset", "shapes", "--model", "card.toml"]
        assert main([*many, *arguments]) == 0

    evaluate("--output", "first")
    assert len(forwarded) == len(open_dataset("shapes"))
    assert set(forwarded.values()) == {1}
    forwarded.clear()
    assert run("--mode", "proto", "--output", "second") == 0
    assert not forwarded


def test_the_counter_counts(here, own_cache, forwarded):
    for output in ("first", "second"):
        assert run("--mode", "proto", "--no-feature-cache", "--output", output) == 0
    assert set(forwarded.values()) == {2}
