"""The tables and the plots of a recipe study: README.md, confirmation.png and targets.png beside its record.npz.

    python -m benchmarks.studies.report FOLDER

findings.py says what the numbers are. Of a stage that is under way, the numbers of shots that are done are reported.
Plots need costs, and take those of the first device.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies import recipe
from benchmarks.studies.findings import Costs, Findings, costs_of, findings_of
from benchmarks.studies.record import NAME, read
from fewshot_bn.results.statistics import Estimate, student


def points(found: Estimate) -> str:
    return f"{100 * found.mean:+.2f} ± {100 * found.half_width:.2f}"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def ranking_table(findings: Findings) -> Iterator[str]:
    """Every complete candidate: mean differences, its worst cell, its cost, and episodes that were not finite."""
    shots = findings.stage.shots
    heads = [f"{k}-shot" for k in shots]
    yield row(["candidate", "all cells", *heads, "worst cell", f"time, × {recipe.PLAIN}", "not finite"])
    yield row(["---"] * (len(heads) + 5))
    ranked = sorted(findings.complete, key=lambda name: -findings.mean_difference(name, shots).mean)
    for name in ranked:
        means = [points(findings.mean_difference(name, part)) for part in (shots, *([k] for k in shots))]
        worst = min(float(findings.difference(name, cell).mean()) for cell in findings.runs)
        cost = findings.cost(name)
        cost_text = "-" if math.isnan(cost) else f"{cost:.2g}"
        yield row([f"`{name}`", *means, f"{100 * worst:+.2f}", cost_text, str(findings.not_finite(name))])


def cell_table(findings: Findings, name: str) -> Iterator[str]:
    """One candidate in every cell: accuracy and differences, among them to the probe that is given the same views."""
    heads = ["accuracy", "to the best probe", "p (Holm)", "to the cell's best", "to `lr`", "to probes over views"]
    yield row(["dataset", "backbone", "shots", *heads])
    yield row(["---"] * 9)
    for (cell, found), p in zip(findings.accuracies.items(), findings.p_values(name), strict=True):
        best_here = max((found[probe] for probe in recipe.PROBES if probe in found), key=np.mean)
        mean = student(found[name].tolist())
        others = [findings.difference(name, cell), found[name] - best_here]
        others += [findings.difference(name, cell, to) for to in ("lr", recipe.UNTUNED[-1])]
        to_best, *differences = (points(student(values.tolist())) for values in others)
        accuracy = f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f}"
        p_text = "< 0.001" if p < 0.001 else f"{p:.3f}"
        yield row([cell.dataset, cell.backbone, str(cell.n_support), accuracy, to_best, p_text, *differences])


def verdict(findings: Findings, name: str) -> str:
    """In how many cells the candidate is significantly above and below the best probe."""
    p_values, views = findings.p_values(name), recipe.UNTUNED[-1]
    found = [findings.difference(name, cell).mean() for cell in findings.runs]
    signs = [np.sign(mean) for mean, p in zip(found, p_values, strict=True) if p < 0.05]
    shots = findings.stage.shots
    to_views = ", ".join(f"{points(findings.mean_difference(name, [k], views))} ({k}-shot)" for k in shots)
    return (
        f"`{name}` is significantly above the best probe in {signs.count(1)} of {len(found)} cells, below in "
        f"{signs.count(-1)}. To the probes over the same views (`{views}`) it is {to_views}."
    )


def cost_table(costs: Costs) -> Iterator[str]:
    """Times of an episode in those of plain tuning, which itself is given in seconds."""
    cells = sorted({(shots, recipe.BACKBONES.index(backbone), backbone) for backbone, shots, _ in costs})
    yield row(["candidate", *(f"{backbone}, {shots}-shot" for shots, _, backbone in cells)])
    yield row(["---"] * (len(cells) + 1))
    plain = [costs[backbone, shots, recipe.PLAIN] for shots, _, backbone in cells]
    for name in recipe.DRAWN:
        times = zip([costs.get((backbone, shots, name), math.nan) for shots, _, backbone in cells], plain, strict=True)
        yield row([f"`{name}`", *(f"{time / unit:.2g}" for time, unit in times)])
    yield row([f"`{recipe.PLAIN}`, s", *(f"{seconds:.2g}" for seconds in plain)])


def report(log: str, found: Sequence[Findings], costs: dict[str, Costs]) -> Iterator[str]:
    yield "# The search for the recipe\n"
    if log:
        yield f"```text\n{log}```"
    for findings in found:
        stage = findings.stage
        yield f"\n## {stage.name.capitalize()}: {', '.join(stage.datasets)}\n"
        yield f"{stage.n_episodes} episodes a cell, seed {stage.seed}.\n"
        yield from (f"The best probe, {k}-shot: `{probe}`.  " for k, probe in findings.best_probes.items())
        yield ""
        yield from ranking_table(findings)
        if stage.name in (recipe.CONFIRMATION.name, recipe.TARGET.name) and "bn" in findings.complete:
            yield "\n" + verdict(findings, "bn") + "\n"
            yield from cell_table(findings, "bn")
    for device, here in costs.items():
        yield f"\n## Cost, in times of `{recipe.PLAIN}`: {device}\n"
        yield from cost_table(here)


@contextmanager
def against_cost(
    titles: Sequence[str],
    path: Path,
    *,
    size: tuple[float, float],
    margins: tuple[float, float],
    label: str,
    **more: Any,
) -> Iterator[Any]:
    """A panel for each title, for differences in points against seconds of an episode; then the file is written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    size = size[0] * len(titles), size[1]
    figure, (panels,) = plt.subplots(1, len(titles), figsize=size, layout="constrained", squeeze=False, **more)
    yield panels
    for panel, title in zip(panels, titles, strict=True):
        panel.axhline(0, color="grey", linewidth=0.5)
        panel.set(xscale="log", xlabel="seconds per episode", title=title)
        panel.margins(*margins)
    panels[0].set_ylabel(label)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def mark(panel: Any, seconds: float, found: Estimate, name: str, *, probe: bool, **place: Any) -> None:
    """A difference and its interval, and beside it whose it is."""
    colour = "C3" if name == "bn" else "C0" if probe else "C1"
    panel.errorbar(seconds, 100 * found.mean, 100 * found.half_width, fmt="o", color=colour, capsize=2)
    text = "probes over views" if name == recipe.UNTUNED[-1] else name
    panel.annotate(text, (seconds, 100 * found.mean), textcoords="offset points", fontsize=8, **place)


def draw(group: Sequence[Findings], costs: Costs, path: Path) -> None:
    """Mean difference to the best probe against cost, a panel for each number of shots.

    Of findings with the same shots, the first ones where a candidate is complete tell.
    """
    shots = sorted({k for findings in group for k in findings.stage.shots})
    shape: dict[str, Any] = {"size": (4, 3.6), "margins": (0.35, 0.25), "label": "difference to the best probe, points"}
    with against_cost([f"{k}-shot" for k in shots], path, **shape) as panels:
        for panel, k in zip(panels, shots, strict=True):
            of_shots = [findings for findings in group if k in findings.stage.shots]
            for name in recipe.DRAWN:
                findings = next((one for one in of_shots if name in one.complete), None)
                times = [costs[backbone, k, name] for backbone in recipe.BACKBONES if (backbone, k, name) in costs]
                if findings is None or not times:
                    continue
                found, seconds = findings.mean_difference(name, [k]), float(np.mean(times))
                mark(panel, seconds, found, name, probe=name in recipe.PROBES, xytext=(4, 4))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    record = read(folder / NAME)
    searched, costs = findings_of(record, recipe.SEARCH, recipe.FINAL), costs_of(record)
    drawn = {
        "confirmation": findings_of(record, recipe.CONFIRMATION),
        "targets": findings_of(record, recipe.TARGET, *recipe.PUBLISHED_TARGETS),
    }
    log = "".join(path.read_text(encoding="utf-8") for path in folder.glob("log.txt"))
    lines = report(log, [*searched, *drawn["confirmation"], *drawn["targets"]], costs)
    (folder / "README.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for name, group in drawn.items():
        if costs and group:
            draw(group, next(iter(costs.values())), folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
