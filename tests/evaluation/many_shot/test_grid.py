"""Grids: what a search costs, what it chooses, and that a killed one goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.many_shot import BATCHES, answer, killed_and_continued, outcome

from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.datasets.splits import Split
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.grid import Grid, Search, product
from fewshot_bn.evaluation.many_shot.modes import GRIDS
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.evaluation.many_shot.verdict import scores

TUNER = FineTuning(**BATCHES)
RATES = product({("lr_body", "lr_head"): [1e-3, 0.1], ("weight_decay",): [0.0, 0.01]})


@pytest.fixture
def searched(source, split, tmp_path):
    """What the search of some lists in a budget ends with."""

    def run(lists, budget, tuner=TUNER):
        return answer(search(lists, budget, tuner, source, split).run(Checkpoint(tmp_path / "kept", "k"), "top-1"))

    return run


def search(lists, budget, tuner, source, split):
    return Search(Grid(lists, budget), TunedEvaluation(tuner, source, split, 3), "ft")


def test_a_product_ties_settings_of_one_value():
    assert RATES == [
        {"lr_body": 1e-3, "lr_head": 1e-3, "weight_decay": 0.0},
        {"lr_body": 1e-3, "lr_head": 1e-3, "weight_decay": 0.01},
        {"lr_body": 0.1, "lr_head": 0.1, "weight_decay": 0.0},
        {"lr_body": 0.1, "lr_head": 0.1, "weight_decay": 0.01},
    ]


@pytest.mark.parametrize("n_points", [1, 2, 3, 4, 9, 20, 28, 100])
@pytest.mark.parametrize("budget", [6.0, 10.0, 30.0, 1000.0])
def test_a_search_keeps_its_budget_and_trains_as_long_as_it_allows(n_points, budget):
    grid = Grid([[{}]], budget)
    rungs = grid.rungs(n_points)
    assert rungs[0][0] == n_points
    assert rungs[-1][1] == 1
    assert sum(n * share for n, share in rungs) <= budget
    if len(rungs) > 1:
        fewer = [(-(-n_points // 3**rung), 3.0 ** (rung - len(rungs) + 2)) for rung in range(len(rungs) - 1)]
        assert sum(n * share for n, share in fewer) > budget


def test_the_published_grid_is_twenty_points_in_eight_trainings():
    (points,) = GRIDS["transfer"]
    assert len(points) == 20
    assert Grid([points], 10.0).rungs(20) == [(20, 1 / 9), (7, 1 / 3), (3, 1)]
    assert {round(point["weight_decay"] * point["lr_body"], 12) for point in points} == {0, 1e-6, 1e-5, 1e-4, 1e-3}


@pytest.mark.parametrize("readout", ["head", "lr"])
def test_what_is_chosen_is_the_best_on_the_validation_images(source, split, tmp_path, searched, readout):
    tuner = replace(TUNER, readout=readout)
    verdict = searched([RATES], 4.0, tuner)
    found = []
    for place, point in enumerate(RATES):
        kept = Checkpoint(tmp_path / f"{place}", "k")
        if readout == "head":  # trained on training images alone, tested by the validation images
            only = Split(split.train, split.val[:0], split.val, official=False)
            alone = outcome(replace(tuner, **point), source, only, kept)
            found.append(scores(alone.logits, torch.from_numpy(source.images.dataset.labels[split.val]))["top-1"])
        else:
            alone = outcome(replace(tuner, **point), source, split, kept)
            found.append(max(tried["top-1"] for tried in alone.path))
    assert [trial["top-1"] for trial in verdict.trials] == found
    assert [trial["settings"] for trial in verdict.trials] == RATES
    assert verdict.chosen == RATES[int(np.argmax(found))]
    last = outcome(replace(tuner, **verdict.chosen), source, split, Checkpoint(tmp_path / "last", "k"))
    assert torch.equal(verdict.logits, last.logits)


def test_the_best_third_is_trained_for_three_times_as_many_steps(searched):
    points = [{"lr_body": rate} for rate in (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)]
    verdict = searched([points], 4.5, replace(TUNER, epochs=0, steps=18))
    assert [trial["steps"] for trial in verdict.trials] == [6] * 6 + [18] * 2
    first, second = verdict.trials[:6], verdict.trials[6:]
    best = sorted(range(6), key=lambda place: (-first[place]["top-1"], place))[:2]
    assert [trial["settings"] for trial in second] == [points[place] for place in best]
    assert verdict.training["steps"] == 18


def test_lists_in_turn_start_from_what_was_chosen(searched):
    verdict = searched([[{"lr_head": 0.01}, {"lr_head": 0.3}], [{"lr_body": 1e-4}, {"lr_body": 1e-2}]], 9.0)
    assert [set(trial["settings"]) for trial in verdict.trials] == [{"lr_head"}] * 2 + [{"lr_head", "lr_body"}] * 2
    assert len({trial["settings"]["lr_head"] for trial in verdict.trials[2:]}) == 1
    assert set(verdict.chosen) == {"lr_head", "lr_body"}


@pytest.mark.parametrize("readout", ["head", "lr"])
def test_a_trial_that_diverges_is_kept_and_never_chosen(searched, readout):
    verdict = searched([[{"lr_body": 1e18}, {"lr_body": 0.001}]], 9.0, replace(TUNER, readout=readout))
    assert [trial["converged"] for trial in verdict.trials] == [False, True]
    assert verdict.trials[0]["top-1"] == 0
    assert verdict.chosen == {"lr_body": 0.001}


def test_where_all_trials_diverge_none_is_chosen(searched):
    with pytest.raises(UsageError, match="--grid of ft: every trial diverged; take smaller rates"):
        searched([[{"lr_body": 1e18}, {"lr_body": 1e19}]], 9.0)


@pytest.mark.usefixtures("kept_at_once")
def test_a_search_that_is_killed_goes_on_where_it_was(source, split, tmp_path, searched, fresh_seed):
    tuner = replace(TUNER, optimiser="adam")
    whole = searched([RATES], 3.0, tuner)
    chance = np.random.default_rng(np.random.Philox(fresh_seed))

    def start():
        kept = Checkpoint(tmp_path / "again", "k")
        return search([RATES], 3.0, tuner, source, split).run(kept, "top-1")

    again, _, n_kills = killed_and_continued(start, chance)
    assert n_kills > 3
    assert again.trials == whole.trials
    assert torch.equal(again.logits, whole.logits)


@pytest.mark.parametrize(
    ("lists", "budget", "message"),
    [
        ([], 10.0, "a grid needs at least one point"),
        ([[]], 10.0, "a grid needs at least one point"),
        ([[{"lr_body": 0.1}]], 0.5, "the budget is 0.5 trainings; the shortest search of 1 points costs 1"),
    ],
)
def test_wrong_grids(lists, budget, message):
    with pytest.raises(UsageError, match=message):
        Grid(lists, budget)


def test_a_point_that_cannot_be_trained_is_found_before_the_first_trial(source, split):
    with pytest.raises(UsageError, match="ft: lr_body is -1"):
        search([[{"lr_body": 0.1}, {"lr_body": -1.0}]], 9.0, TUNER, source, split).check()
