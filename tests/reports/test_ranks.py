import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from reference.ranked import report_of, task_of

from fewshot_bn.reports.ranks import rank_text, rank_values
from fewshot_bn.results.agreement import REGRET, TAU
from fewshot_bn.results.ranks import Number
from fewshot_bn.results.statistics import Estimate


@pytest.fixture
def task():
    rng = np.random.default_rng(np.random.Philox(4))
    return task_of((np.linspace(0.2, 0.8, 6)[:, None] + 0.2 * rng.normal(size=(3, 6, 12))).clip(0, 1).round(2))


def rows(text):
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


def test_scores_have_places_and_the_best_by_the_reference_comes_first(task):
    text = rank_text(report_of(task))
    lines = rows(text)
    assert text.startswith("plants: accuracy of 6 backbones over 12 episodes, reference ft\n\nbackbone  ft (place)")
    table = lines[4:10]
    assert [re.search(r"\((.*)\)$", row[1])[1] for row in table] == ["1", "2", "3", "4", "5", "6"]
    order = np.argsort(-task.scores[0])
    assert [row[0] for row in table] == [task.backbones[b] for b in order]
    for row, b in zip(table, order, strict=True):
        assert [cell.split(" ±")[0] for cell in row[1:]] == [f"{100 * score:.2f}" for score in task.scores[:, b]]


def test_ties_share_a_place():
    values = np.full((2, 5, 4), 0.5)
    values[:, 0] = 0.75
    text = rank_text(report_of(task_of(values)))
    assert re.findall(r"\((\d.*?)\)", text) == ["1", "1"] + ["3.5", "3.5"] * 4


def test_numbers_are_in_the_table_as_they_are(task):
    report = report_of(task)
    text = rank_text(report)
    (ranking,) = report.rankings
    assert rows(text)[11] == ["proxy", "value", "95 % over backbones", "over episodes", "over both"]
    tau, regret = ranking.proxies["proto"][TAU], ranking.proxies["proto"][REGRET]
    ends = [f"[{low:.3f}, {high:.3f}]" for low, high in (tau.over_backbones, tau.over_units, tau.over_both)]
    assert ["proto", "Kendall's tau-b", f"{tau.value:.3f}", *ends] in rows(text)
    low, high = regret.over_both
    last = f"[{100 * low:.2f}, {100 * high:.2f}]"
    assert rows(text)[-2][:2] + rows(text)[-2][-1:] == ["top-1 regret, points", f"{100 * regret.value:.2f}", last]
    assert rows(text)[-1][:2] == ["tau-b less that of lr", f"{ranking.differences['proto'].value:+.3f}"]
    assert "nan" not in text


def test_a_metric_that_is_no_share_has_no_points_and_the_lowest_is_first(task):
    text = rank_text(report_of(task, metric="nll"))
    assert ["top-1 regret"] in [row[:1] for row in rows(text)]
    assert "plants: NLL of 6 backbones" in text
    best = task.backbones[int(task.scores[0].argmin())]
    assert rows(text)[4][0] == best
    assert rows(text)[4][1].startswith(f"{task.scores[0].min():.3f} ±")


def test_what_is_undefined_or_unknown_is_said_so(task):
    values = np.full((2, 5, 3), 0.5)
    text = rank_text(report_of(replace(task_of(values), values=None)))
    assert ["lr", "Kendall's tau-b", "undefined", "-", "-", "-"] in rows(text)
    assert ["top-1 regret, points", "0.00", "[0.00, 0.00]", "-", "-"] in rows(text)
    assert "nan" not in text


def test_small_negative_numbers_are_no_minus_zero(task):
    report = report_of(task)
    (ranking,) = report.rankings
    tiny = Number(-1e-9, (-1e-9, 1e-9), None, None)
    changed = replace(ranking, proxies={"proto": {TAU: tiny}}, differences={"proto": tiny})
    text = rank_text(replace(report, rankings=[changed]))
    assert ["proto", "Kendall's tau-b", "0.000", "[0.000, 0.000]", "-", "-"] in rows(text)
    assert ["tau-b less that of lr", "+0.000", "[+0.000, +0.000]", "-", "-"] in rows(text)


def test_means_over_tasks_come_last_and_notes_after_them(task):
    others = replace(task, name="zoo", stream="t")
    text = rank_text(report_of(task, others, notes=["one", "two"]))
    heads = [line for line in text.splitlines() if "backbones over" in line]
    assert [head.split(":")[0] for head in heads] == [
        "plants",
        "zoo",
        "mean over 2 few-shot tasks",
        "mean scores of 2 few-shot tasks",
    ]
    assert text.endswith("\n\nnote: one\nnote: two")
    assert text.count("(place)") == 3 * 3  # means of numbers have no scores


def test_images_of_a_split_are_not_called_episodes(task):
    text = rank_text(report_of(replace(task, regime="many-shot")))
    assert "over 12 test images" in text
    assert "over test images" in rows(text)[11]


def test_values_for_a_program_are_all_numbers(task):
    report = report_of(task, notes=["one"])
    found = json.loads(json.dumps(rank_values(report), allow_nan=False))
    assert [found[name] for name in ("metric", "reference", "baseline", "notes")] == ["accuracy", "ft", "lr", ["one"]]
    assert found["bootstrap"] == {"n_samples": 100, "seed": 3}
    assert found["backbones"]["b0"] == {"name": "b0", "weights": "w", "fingerprint": "f-b0"}
    ((ranking,), (told,)) = report.rankings, found["rankings"]
    assert told["scores"]["lr"]["b2"]["mean"] == task.estimates["lr"][2].mean
    number, said = ranking.proxies["proto"][TAU], told["proxies"]["proto"][TAU]
    assert said == {
        "value": number.value,
        "over_backbones": list(number.over_backbones),
        "over_units": list(number.over_units),
        "over_both": list(number.over_both),
    }
    assert told["tau_less_that_of_baseline"]["proto"]["value"] == ranking.differences["proto"].value
    assert (told["regime"], told["units"], told["backbones"]) == ("few-shot", "12 episodes", list(task.backbones))


def test_what_is_not_known_is_null_for_a_program():
    made = task_of(np.full((2, 5, 1), 0.5))
    estimates = {mode: tuple(Estimate(0.5, math.inf, 1) for _ in row) for mode, row in made.estimates.items()}
    found = rank_values(report_of(replace(made, estimates=estimates)))
    (told,) = json.loads(json.dumps(found, allow_nan=False))["rankings"]
    assert told["scores"]["ft"]["b0"] == {"mean": 0.5, "low": None, "high": None}
    assert told["proxies"]["lr"][TAU] == dict.fromkeys(["value", "over_backbones", "over_units", "over_both"])
