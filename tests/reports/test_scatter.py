import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference.ranked import report_of, task_of

from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.reports import scatter
from fewshot_bn.reports.scatter import check_plot, draw_ranks


@pytest.fixture
def task():
    rng = np.random.default_rng(np.random.Philox(4))
    return task_of((np.linspace(0.2, 0.8, 6)[:, None] + 0.2 * rng.normal(size=(3, 6, 12))).clip(0, 1).round(2))


def texts(path):
    """What is written in an SVG."""
    import html

    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))]


def test_every_panel_names_every_backbone_and_says_what_it_is(task, tmp_path):
    report = report_of(task)
    draw_ranks(report, tmp_path / "new" / "ranks.svg")
    found = texts(tmp_path / "new" / "ranks.svg")
    assert [found.count(name) for name in task.backbones] == [2] * 6
    tau = report.rankings[0].proxies["lr"]["tau"].value
    assert f"lr: tau-b {tau:.3f}" in found
    assert [found.count(f"accuracy, %, {mode}") for mode in ("ft", "lr", "proto")] == [2, 1, 1]
    assert found.count("plants") == 2


@pytest.mark.full
def test_tasks_and_their_mean_have_rows(task, tmp_path):
    draw_ranks(report_of(task, replace(task, name="zoo", stream="t")), tmp_path / "ranks.svg")
    found = texts(tmp_path / "ranks.svg")
    assert [found.count(name) for name in ("plants", "zoo", "mean scores of 2 few-shot tasks", "b0")] == [2, 2, 2, 6]


@pytest.mark.full
@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")])
def test_formats(task, tmp_path, suffix, begins):
    path = tmp_path / f"ranks{suffix}"
    check_plot(path)
    draw_ranks(report_of(task), path)
    assert path.read_bytes().startswith(begins)


@pytest.mark.full
def test_the_same_results_give_the_same_file(task, tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_ranks(report_of(task), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_picture_has_a_panel_for_each_proxy(task, tmp_path):
    draw_ranks(report_of(task), tmp_path / "two.png")
    with Image.open(tmp_path / "two.png") as two:
        assert two.size == (2 * 504, 456)


@pytest.mark.full
def test_tasks_without_a_mode_leave_its_panel_empty(task, tmp_path):
    short = replace(task, name="zoo", estimates=dict(list(task.estimates.items())[:2]), values=task.values[:2])
    draw_ranks(report_of(task, short), tmp_path / "ranks.svg")
    assert texts(tmp_path / "ranks.svg").count("b0") == 2 + 1 + 1


@pytest.mark.full
def test_names_are_drawn_as_they_are(task, tmp_path):
    odd = ("$x^2$", "a<b>&c", "名前", "new\nline", "$", "x_{")
    draw_ranks(report_of(replace(task, backbones=odd)), tmp_path / "ranks.svg")
    found = texts(tmp_path / "ranks.svg")
    assert {"$x^2$", "a<b>&c", "名前", "$", "x_{"} <= set(found)
    draw_ranks(report_of(replace(task, backbones=odd)), tmp_path / "ranks.png")


def test_marks_are_where_the_scores_are_with_their_intervals(task, tmp_path, monkeypatch):
    seen = []
    draw = scatter._Panel.draw
    monkeypatch.setattr(scatter._Panel, "draw", lambda panel: (seen.append(panel), draw(panel)))
    draw_ranks(report_of(task), tmp_path / "ranks.svg")
    panel = seen[1]
    (line, _, bars), *_ = panel.axes.containers
    np.testing.assert_allclose(line.get_xdata(), 100 * task.scores[2])
    np.testing.assert_allclose(line.get_ydata(), 100 * task.scores[0])
    of_x = np.array([segment[:, 0] for segment in bars[0].get_segments()])
    np.testing.assert_allclose(of_x, [[100 * one.low, 100 * one.high] for one in task.estimates["proto"]])
    low, high = panel.axes.get_xlim()
    assert (low < 100 * task.scores[2]).all()
    assert (100 * task.scores[2] < high).all()


@pytest.mark.parametrize("name", ["ranks.jpg", "ranks", ".svg", "ranks.svg.gz"])
def test_other_formats_are_refused(name):
    with pytest.raises(UsageError, match=r"its name must end in \.png, \.svg, \.pdf"):
        check_plot(Path(name))


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"--plot needs matplotlib \(.*\): pip install 'fewshot_bn\[plots\]'"):
        check_plot(Path("ranks.svg"))


def test_a_file_that_cannot_be_written_is_an_error(task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"ranks\.svg: cannot be written: "):
        draw_ranks(report_of(task), tmp_path / "file" / "ranks.svg")


def test_a_picture_of_too_many_panels_is_refused(task, tmp_path, monkeypatch):
    monkeypatch.setattr(scatter, "MOST_PANELS", 1)
    with pytest.raises(UsageError, match="a picture has at most 1 panels, 1 tasks by 2 modes are more; name fewer"):
        draw_ranks(report_of(task), tmp_path / "ranks.svg")
    assert not list(tmp_path.iterdir())
