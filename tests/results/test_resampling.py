from dataclasses import replace

import numpy as np
import pytest
from reference.ranked import drawn_places, task_of

from fewshot_bn.errors import UsageError
from fewshot_bn.results.resampling import (
    OBSERVED,
    OVER_BACKBONES,
    OVER_BOTH,
    OVER_UNITS,
    Bootstrap,
    mean_samples,
    samples_of,
)
from fewshot_bn.rng import uniforms

MODES = ("ft", "lr")


@pytest.fixture
def values(fresh_seed):
    return np.random.default_rng(np.random.Philox(fresh_seed)).random((2, 6, 9))


def test_units_are_drawn_jointly_for_all_modes_and_backbones(values):
    found = samples_of(task_of(values), Bootstrap(100, seed=3))
    expected = np.stack([values[:, :, e].mean(-1) for e in drawn_places(9, 100, 3, "units", "s")], axis=1)
    for place, mode in enumerate(MODES):
        np.testing.assert_allclose(found[OVER_UNITS].scores[mode], expected[place], rtol=1e-12)
        np.testing.assert_array_equal(found[OVER_BOTH].scores[mode], found[OVER_UNITS].scores[mode])
        np.testing.assert_allclose(found[OVER_BACKBONES].scores[mode], np.tile(values[place].mean(-1), (100, 1)))
    assert (found[OVER_UNITS].times == 1).all()


def test_backbones_are_drawn_with_replacement_the_same_way_in_both_kinds(values):
    found = samples_of(task_of(values), Bootstrap(1500))
    times = found[OVER_BACKBONES].times
    np.testing.assert_array_equal(times, found[OVER_BOTH].times)
    assert (times.sum(1) == 6).all()
    np.testing.assert_allclose(times.mean(0), 1, atol=0.15)
    np.testing.assert_allclose(times.var(0), 5 / 6, atol=0.15)


def test_what_was_observed_is_one_sample(values):
    observed = samples_of(task_of(values), Bootstrap(100))[OBSERVED]
    np.testing.assert_allclose(observed.scores["lr"], values[1].mean(-1)[None])
    assert observed.times.tolist() == [[1.0] * 6]


def test_more_samples_begin_with_the_same_ones_and_another_seed_gives_others(values):
    few, many = (samples_of(task_of(values), Bootstrap(n)) for n in (100, 150))
    other = samples_of(task_of(values), Bootstrap(100, seed=1))
    for kind in (OVER_BACKBONES, OVER_UNITS):
        np.testing.assert_array_equal(few[kind].times, many[kind].times[:100])
        np.testing.assert_allclose(few[kind].scores["ft"], many[kind].scores["ft"][:100], rtol=1e-12)
    assert (few[OVER_BACKBONES].times != other[OVER_BACKBONES].times).any()
    assert (few[OVER_UNITS].scores["ft"] != other[OVER_UNITS].scores["ft"]).any()


def test_portions_change_nothing(values, monkeypatch):
    whole = samples_of(task_of(values), Bootstrap(100))[OVER_UNITS].scores["ft"]
    monkeypatch.setattr("fewshot_bn.results.resampling.VALUES_AT_ONCE", 7 * 9)
    np.testing.assert_allclose(samples_of(task_of(values), Bootstrap(100))[OVER_UNITS].scores["ft"], whole, rtol=1e-12)


def test_tasks_of_one_stream_have_the_same_units_and_others_have_others(values):
    one, same, other = (
        samples_of(task_of(values, stream=stream), Bootstrap(100))[OVER_UNITS].scores["ft"]
        for stream in ("s", "s", "t")
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_units_of_a_stratum_are_drawn_among_it(values):
    strata = [np.array([0, 3, 4]), np.array([1]), np.array([2, 5, 6, 7, 8])]
    made = replace(task_of(values), strata=strata)
    found = samples_of(made, Bootstrap(100))[OVER_UNITS].scores["lr"]
    for i, score in enumerate(found):
        chance = uniforms(9, 0, "rank", "units", "s", i)
        places = [stratum[int(chance[unit] * len(stratum))] for stratum in strata for unit in stratum]
        np.testing.assert_allclose(score, values[1][:, places].mean(-1), rtol=1e-12)


@pytest.mark.parametrize("one", ["unknown", "single"])
def test_without_several_known_units_backbones_alone_are_drawn(values, one):
    made = task_of(values, known=False) if one == "unknown" else task_of(values[:, :, :1])
    assert set(samples_of(made, Bootstrap(100))) == {OBSERVED, OVER_BACKBONES}


def test_mean_scores_of_tasks_are_those_of_each_sample(values, fresh_seed):
    others = np.random.default_rng(np.random.Philox(fresh_seed + 1)).random((2, 6, 4))
    made = [
        samples_of(task_of(values, stream="a"), Bootstrap(100)),
        samples_of(task_of(others, stream="b"), Bootstrap(100)),
    ]
    mean = mean_samples(made, MODES)
    for kind in (OBSERVED, OVER_BACKBONES, OVER_UNITS, OVER_BOTH):
        expected = (made[0][kind].scores["lr"] + made[1][kind].scores["lr"]) / 2
        np.testing.assert_allclose(mean[kind].scores["lr"], expected, rtol=1e-12)
        np.testing.assert_array_equal(mean[kind].times, made[1][kind].times)
    unknown = samples_of(task_of(others, known=False), Bootstrap(100))
    assert set(mean_samples([made[0], unknown], MODES)) == {OBSERVED, OVER_BACKBONES}


def test_a_seed_out_of_range_is_refused(values):
    with pytest.raises(UsageError, match="seed is"):
        samples_of(task_of(values), Bootstrap(100, seed=2**63))
