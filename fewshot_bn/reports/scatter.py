"""Scores by proxies against scores by the reference, with the names of the backbones, as a picture.

A row of panels for each task, a panel for each proxy. Needs matplotlib, which is imported nowhere else.
"""

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.files.atomic import make_folder, replace_file
from fewshot_bn.reports.name_places import free_places
from fewshot_bn.reports.ranks import UNDEFINED, RankReport
from fewshot_bn.results.agreement import TAU
from fewshot_bn.results.ranks import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg

UNDATED: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "fewshot_bn", "pdf.fonttype": 42, "font.size": 8}
PANEL = (4.2, 3.8)  # inches
DPI = 120
MOST_PANELS = 120  # in one row they are as wide as a picture may be
LEADER = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2}  # from a name to its point
PLAIN: dict[str, Any] = {"parse_math": False}  # of a name with $ in it


def check_plot(path: Path) -> None:
    """Raise `UsageError` where no such picture can be drawn."""
    if _form(path) not in UNDATED:
        raise UsageError(f"--plot {path}: its name must end in .{', .'.join(UNDATED)}")
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as problem:
        raise UsageError(f"--plot needs matplotlib ({problem}): pip install 'fewshot_bn[plots]'") from problem


def draw_ranks(report: RankReport, path: Path) -> None:
    """Write the picture, or leave what was there.

    Raises `UsageError` where there are too many panels, and `ResultError` where the file cannot be written.
    """
    rankings = [ranking for ranking in report.rankings if ranking.estimates]
    shape = len(rankings), max(len(ranking.proxies) for ranking in rankings)
    if math.prod(shape) > MOST_PANELS:
        raise UsageError(
            f"--plot: a picture has at most {MOST_PANELS} panels, {shape[0]} tasks by {shape[1]} modes are more; name "
            "fewer results, or fewer modes with --mode"
        )
    content = _picture(rankings, report, shape, _form(path))
    try:
        make_folder(path.parent)
        replace_file(path, content)
    except OSError as problem:
        raise ResultError(f"{path}: cannot be written: {problem.strerror}") from problem


def _form(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


@dataclass(frozen=True, slots=True)
class _Panel:
    """A ranking by one proxy."""

    axes: "Axes"
    ranking: Ranking
    proxy: str
    metric: str

    @property
    def factor(self) -> float:
        return 100.0 if METRICS[self.metric].draws else 1.0

    @property
    def reference(self) -> str:
        return next(iter(self.ranking.estimates))

    def scores(self, mode: str) -> Float64[ndarray, "b"]:
        return self.factor * np.array([one.mean for one in self.ranking.estimates[mode]])

    def sides(self, mode: str) -> Float64[ndarray, "2 b"]:
        """How far off the ends of the intervals are; 0 where they are unknown."""
        ends = [(one.mean - one.low, one.high - one.mean) for one in self.ranking.estimates[mode]]
        sides = np.array(ends).T.clip(min=0)
        return self.factor * np.where(np.isfinite(sides), sides, 0.0)

    def draw(self) -> None:
        """Marks with their intervals; titles."""
        number, names = self.ranking.proxies[self.proxy][TAU], (self.proxy, self.reference)
        tau = UNDEFINED if number.value is None else f"{number.value:.3f}"
        (x, x_sides), (y, y_sides) = ((self.scores(mode), self.sides(mode)) for mode in names)
        self.axes.errorbar(x, y, y_sides, x_sides, fmt="o", markersize=4, linewidth=0.6, color="C0", ecolor="0.75")
        self.axes.margins(0.2)
        self.axes.set_title(f"{self.ranking.name}\n{self.proxy}: tau-b {tau}", fontsize=8, **PLAIN)
        title = f"{METRICS[self.metric].title}{', %' if self.factor > 1 else ''}"
        self.axes.set_xlabel(f"{title}, {self.proxy}", **PLAIN)
        self.axes.set_ylabel(f"{title}, {self.reference}", **PLAIN)

    def name(self, renderer: "RendererAgg", px: float) -> None:
        """Write the names of the backbones where there is room; `px` are those of a point."""
        from matplotlib.text import Text

        points = np.stack([self.scores(self.proxy), self.scores(self.reference)], axis=1)
        texts = [
            self.axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=7, arrowprops=LEADER, **PLAIN)
            for name, point in zip(self.ranking.backbones, points.tolist(), strict=True)
        ]
        sizes = np.array([Text.get_window_extent(text, renderer).size for text in texts])  # without the line to it
        marks = self.axes.transData.transform(points)
        places = free_places(marks / px, sizes / px, np.array(self.axes.bbox.extents) / px)
        for text, offset in zip(texts, places - marks / px, strict=True):
            text.set_position(tuple(offset.tolist()))


def _picture(rankings: Sequence[Ranking], report: RankReport, shape: tuple[int, int], form: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    content = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box stands for a letter that the font lacks
        figure = Figure((PANEL[0] * shape[1], PANEL[1] * shape[0]), DPI, layout="constrained")
        renderer = FigureCanvasAgg(figure).get_renderer()
        panels: list[_Panel] = []
        for row, ranking in zip(figure.subplots(*shape, squeeze=False), rankings, strict=True):
            panels += [
                _Panel(axes, ranking, proxy, report.metric) for axes, proxy in zip(row, ranking.proxies, strict=False)
            ]
            for axes in row[len(ranking.proxies) :]:
                axes.set_axis_off()
        for panel in panels:
            panel.draw()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # names are written where they find room, and move no panel
        for panel in panels:
            panel.name(renderer, DPI / 72)
        figure.savefig(content, format=form, metadata=UNDATED[form])
    return content.getvalue()
