"""Keys that results out there have: where one changes, every kept result is computed again, so only on purpose."""

import pytest

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import split_of
from fewshot_bn.episodes import EpisodeShape, Plan
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.results.key import few_shot_key, file_name, many_shot_key


@pytest.fixture(scope="module")
def subject():
    return open_dataset("digits"), load_backbone()


@pytest.mark.parametrize(("mode", "digest"), [("lr", "2be64467"), ("proto", "79e4fb8f"), ("bn", "40ea518a")])
def test_results_of_the_readme_have_the_names_that_it_shows(subject, mode, digest):
    key = few_shot_key(*subject, (mode, ADAPTERS[mode]), shape=EpisodeShape(), plan=Plan())
    assert file_name(key) == f"digits_fractal-resnet8_{mode}_5way_5shot_15query_seed0_{digest}.json"


def test_whatever_decides_the_answer_is_in_the_name(subject):
    proto, shape = ("proto", ADAPTERS["proto"]), EpisodeShape()
    keys = [
        few_shot_key(*subject, proto, shape=shape, plan=Plan()),
        few_shot_key(*subject, ("mine", ADAPTERS["proto"]), shape=shape, plan=Plan()),
        few_shot_key(*subject, ("lr", ADAPTERS["lr-c1"]), shape=shape, plan=Plan()),
        few_shot_key(*subject, proto, shape=EpisodeShape(n_query=14), plan=Plan()),
        few_shot_key(*subject, proto, shape=shape, plan=Plan(seed=1)),
        few_shot_key(*subject, proto, shape=shape, plan=Plan(kind="disjoint")),
        few_shot_key(subject[0], load_backbone(weights="random"), proto, shape=shape, plan=Plan()),
    ]
    assert len({file_name(key)[-13:] for key in keys}) == len(keys)


def test_settings_that_were_added_later_do_not_change_the_names_of_older_results(subject):
    """`bn` had its name before there was `members`; the parametrised test above holds it."""
    asked = {"shape": EpisodeShape(), "plan": Plan()}
    names = {
        members: file_name(few_shot_key(*subject, ("bn", make_adapter("bn", members=members)), **asked))
        for members in ("joint", "two-stage")
    }
    assert names["joint"] == file_name(few_shot_key(*subject, ("bn", ADAPTERS["bn"]), **asked))
    assert names["joint"] != names["two-stage"]


def test_a_split_is_part_of_a_many_shot_key(subject):
    lr = ("lr", CLASSIFIERS["lr"])
    names = [file_name(many_shot_key(*subject, lr, split=split_of(subject[0], seed), seed=seed)) for seed in (0, 1)]
    assert names[0].startswith("digits_fractal-resnet8_lr_many-shot_seed0_")
    assert names[0][-13:] != names[1][-13:]
