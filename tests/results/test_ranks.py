import numpy as np
import pytest
from reference.ranked import drawn_places, task_of
from scipy import stats

from fewshot_bn.results.agreement import REGRET, RHO, TAU, R
from fewshot_bn.results.ranks import Number, _interval, doubts, rank
from fewshot_bn.results.resampling import Bootstrap
from fewshot_bn.results.statistics import average

N = 100


def numbers(x, y):
    """Of one sample, by scipy; NaN where that is undefined."""
    regret = max(y) - np.mean(y[x >= max(x) - 1e-12])
    if np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return {TAU: np.nan, RHO: np.nan, R: np.nan, REGRET: regret}
    x, y = x.round(9), y.round(9)  # sums in another order
    found = {TAU: stats.kendalltau(x, y), RHO: stats.spearmanr(x, y), R: stats.pearsonr(x, y)}
    return {name: one.statistic for name, one in found.items()} | {REGRET: regret}


def draws(values, mode, *, backbones, units, stream="s", seed=0):
    """The numbers of a proxy in every sample, drawn and worked out one by one."""
    n_backbones, n_units = values.shape[1:]
    of_backbones = drawn_places(n_backbones, N, seed, "backbones") if backbones else [np.arange(n_backbones)] * N
    of_units = drawn_places(n_units, N, seed, "units", stream) if units else [np.arange(n_units)] * N
    found = []
    for b, e in zip(of_backbones, of_units, strict=True):
        means = values[:, b][:, :, e].mean(-1)
        found.append(numbers(means[mode], means[0]))
    return {name: np.array([one[name] for one in found]) for name in found[0]}


KINDS = {
    "over_backbones": {"backbones": True, "units": False},
    "over_units": {"backbones": False, "units": True},
    "over_both": {"backbones": True, "units": True},
}


def ends(values):
    return pytest.approx(np.nanquantile(values, [0.025, 0.975]), abs=1e-8)


@pytest.fixture
def values(fresh_seed):
    rng = np.random.default_rng(np.random.Philox(fresh_seed))
    skill = np.linspace(0.3, 0.7, 6)[:, None]
    return (skill + 0.3 * rng.normal(size=(3, 6, 15))).clip(0, 1).round(1)


def test_numbers_and_intervals_are_those_of_a_plain_loop(values):
    (found,) = rank([task_of(values)], "accuracy", "lr", Bootstrap(N))
    for place, mode in ((1, "lr"), (2, "proto")):
        observed = numbers(values[place].mean(-1), values[0].mean(-1))
        for kind, how in KINDS.items():
            drawn = draws(values, place, **how)
            for name, number in found.proxies[mode].items():
                assert number.value == pytest.approx(observed[name], abs=1e-8)
                assert getattr(number, kind) == ends(drawn[name]), (mode, kind, name)


def test_two_proxies_are_compared_in_the_same_samples(values):
    (found,) = rank([task_of(values)], "accuracy", "proto", Bootstrap(N, seed=5))
    assert list(found.differences) == ["lr"]
    less = found.differences["lr"]
    assert less.value == pytest.approx(found.proxies["lr"][TAU].value - found.proxies["proto"][TAU].value)
    lr, proto = (draws(values, place, seed=5, **KINDS["over_both"])[TAU] for place in (1, 2))
    assert less.over_both == ends(lr - proto)


@pytest.mark.parametrize("baseline", [None, "bn"])
def test_without_a_baseline_that_is_there_are_no_differences(values, baseline):
    (found,) = rank([task_of(values)], "accuracy", baseline, Bootstrap(N))
    assert found.differences == {}


def test_means_over_tasks_are_those_of_every_sample(values, fresh_seed):
    rng = np.random.default_rng(np.random.Philox(fresh_seed + 1))
    others = (np.linspace(0.2, 0.8, 6)[:, None] + 0.2 * rng.normal(size=(3, 6, 8))).clip(0, 1)
    tasks = [task_of(values, name="one", stream="a"), task_of(others, name="two", stream="b")]
    *_, of_numbers, of_scores = rank(tasks, "accuracy", "lr", Bootstrap(N))
    assert (of_numbers.name, of_scores.name) == ("mean over 2 few-shot tasks", "mean scores of 2 few-shot tasks")
    assert (of_numbers.estimates, list(of_scores.estimates)) == ({}, ["ft", "lr", "proto"])
    for kind, how in KINDS.items():
        drawn = [draws(values, 1, stream="a", **how), draws(others, 1, stream="b", **how)]
        for name in (TAU, RHO, R, REGRET):
            mean = np.mean([one[name] for one in drawn], axis=0)
            assert getattr(of_numbers.proxies["lr"][name], kind) == ends(mean)
    means = np.mean([values.mean(-1), others.mean(-1)], axis=0)
    assert of_scores.proxies["proto"][TAU].value == pytest.approx(stats.kendalltau(means[2], means[0]).statistic)
    places = [drawn_places(n, N, 0, "units", s) for n, s in ((15, "a"), (8, "b"))]
    pairs = zip(*places, strict=True)
    both = np.stack([(values[0, 2, a].mean() + others[0, 2, b].mean()) / 2 for a, b in pairs])
    shown = of_scores.estimates["ft"][2]
    assert shown.mean == pytest.approx(means[0, 2])
    low, high = np.quantile(both, [0.025, 0.975])
    assert (shown.low, shown.high) == pytest.approx((min(low, shown.mean), max(high, shown.mean)))


def test_means_over_tasks_of_unknown_units_are_over_backbones_alone(values):
    tasks = [task_of(values, name=name, known=known) for name, known in (("one", True), ("two", False))]
    *_, of_numbers, of_scores = rank(tasks, "accuracy", "lr", Bootstrap(N))
    for found in (of_numbers, of_scores):
        number = found.proxies["lr"][TAU]
        assert number.over_backbones is not None
        assert (number.over_units, number.over_both) == (None, None)
    assert of_scores.estimates["ft"][0] == average([task.estimates["ft"][0] for task in tasks])


def test_where_all_scores_are_equal_numbers_are_undefined(values):
    values[0] = 0.5
    (found,) = rank([task_of(values)], "accuracy", "lr", Bootstrap(N))
    nothing = Number(None, None, None, None)
    assert [found.proxies["lr"][name] for name in (TAU, RHO, R)] == [nothing] * 3
    assert found.proxies["lr"][REGRET] == Number(0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    assert found.differences == {"proto": nothing}


def test_an_interval_is_of_the_samples_that_define_the_number_if_those_are_most():
    drawn = np.arange(101.0)
    drawn[:50] = np.nan
    assert _interval(drawn) == pytest.approx(tuple(np.quantile(np.arange(50.0, 101.0), [0.025, 0.975])))
    drawn[50] = np.nan
    assert _interval(drawn) is None


def test_an_interval_without_width_is_said_to_be_none(values):
    values[1] = values[0]
    rankings = rank([task_of(values, name="one")], "accuracy", "lr", Bootstrap(N))
    assert rankings[0].proxies["lr"][TAU].over_backbones == (1.0, 1.0)
    (told,) = doubts(rankings)
    assert told.startswith(
        "one: in every sample of backbones lr ranks them alike, so its intervals over backbones have"
    )
    values[1, :3] = values[0, 3:]
    assert list(doubts(rank([task_of(values)], "accuracy", "lr", Bootstrap(N)))) == []


def test_the_lowest_score_is_best_by_a_metric_of_losses(values):
    losses = 3 - values
    (found,) = rank([task_of(values)], "accuracy", "lr", Bootstrap(N))
    (of_losses,) = rank([task_of(losses)], "nll", "lr", Bootstrap(N))
    for name, number in found.proxies["proto"].items():
        other = of_losses.proxies["proto"][name]
        assert (other.value, *other.over_both) == pytest.approx((number.value, *number.over_both), abs=1e-8)
    wrong = rank([task_of(losses)], "accuracy", "lr", Bootstrap(N))[0].proxies["proto"][REGRET]
    assert wrong.value != pytest.approx(found.proxies["proto"][REGRET].value) or wrong.over_both != number.over_both


def of_population(rng, n_backbones, rho=(0.9, 0.7)):
    """Scores without noise [3 b], of backbones from a population in which proxies are correlated with the reference."""
    reference = rng.normal(size=n_backbones)
    proxies = [r * reference + np.sqrt(1 - r**2) * rng.normal(size=n_backbones) for r in rho]
    return np.stack([reference, *proxies])


def measured(rng, scores, n_units, noise):
    """Values of units, some of which are easy or hard for all."""
    spread = rng.normal(size=(*scores.shape, n_units)) + rng.normal(size=n_units)
    return scores[:, :, None] + noise * spread


def tau_of(rho):
    """Kendall's tau of a normal distribution (Kruskal 1958, "Ordinal measures of association")."""
    return 2 / np.pi * np.arcsin(rho)


@pytest.mark.full
@pytest.mark.parametrize(("noise", "kind"), [(0.001, "over_backbones"), (0.7, "over_both")])
def test_intervals_cover_what_the_population_has(rng, noise, kind):
    truth = {"lr": tau_of(0.9), "proto": tau_of(0.7), "difference": tau_of(0.7) - tau_of(0.9)}
    hits, n, widths = dict.fromkeys(truth, 0), 120, []
    for seed in range(n):
        (found,) = rank(
            [task_of(measured(rng, of_population(rng, 15), 30, noise))], "accuracy", "lr", Bootstrap(N, seed)
        )
        said = {mode: found.proxies[mode][TAU] for mode in ("lr", "proto")} | {"difference": found.differences["proto"]}
        for name, number in said.items():
            low, high = getattr(number, kind)
            hits[name] += low <= truth[name] <= high
        widths.append(np.ptp(getattr(said["lr"], kind)))
    assert all(0.87 * n <= count for count in hits.values()), hits  # 95 % less four standard errors
    assert np.mean(widths) < 0.7


@pytest.mark.full
def test_intervals_over_units_cover_the_order_without_noise_if_that_is_small(rng):
    hits, widths, n = 0, [], 120
    for seed in range(n):
        scores = of_population(rng, 12)
        (found,) = rank([task_of(measured(rng, scores, 50, 0.4))], "accuracy", "lr", Bootstrap(N, seed))
        low, high = found.proxies["lr"][TAU].over_units
        hits += low - 1e-9 <= stats.kendalltau(scores[0], scores[1]).statistic <= high + 1e-9
        widths.append(high - low)
    assert 0.87 * n <= hits
    assert 0.02 < np.mean(widths) < 0.3
