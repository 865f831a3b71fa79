"""The tables and the plots of a recipe study: README.md, confirmation.png and targets.png in its folder.

    python -m benchmarks.studies.report FOLDER

Differences are to the best probe of each number of shots, best on the very same episodes and on the average of the
cells, so chosen with hindsight in favour of the probe. Of a stage that is under way, the numbers of shots that are done
are reported. Intervals are of the mean over the cells at hand: the cells of a dataset share their episodes, so they are
averaged episode by episode first; datasets are independent. Significance is that of paired t-tests after Holm's
correction over all cells of a table. Plots need cost.jsonl (cost.py); costs are those of its first device.
Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from benchmarks.studies import plan
from benchmarks.studies.cells import Cell
from benchmarks.studies.cost import Costs, medians
from benchmarks.studies.plan import Stage
from benchmarks.studies.recipe import Accuracies, Rows, accuracies, best_probe, file_of, read_rows, rows_of
from fewshot_bn.results.statistics import Estimate, estimate


@dataclass(frozen=True)
class Findings:
    """What is there of a stage: the accuracies of the candidates that are complete in all cells."""

    folder: Path
    stage: Stage

    @cached_property
    def rows(self) -> dict[Cell, Rows]:
        return {cell: read_rows(file_of(self.folder, self.stage, cell)) for cell in self.stage.cells()}

    @cached_property
    def accuracies(self) -> Accuracies:
        names = plan.candidates()
        return {cell: accuracies(rows, self.stage.n_episodes, names) for cell, rows in self.rows.items()}

    @cached_property
    def complete(self) -> list[str]:
        return [name for name in plan.candidates() if all(name in found for found in self.accuracies.values())]

    def difference(self, name: str, cell: Cell, to: str = "") -> Float[ndarray, "n"]:
        """To another candidate or to the best probe of so many shots, episode by episode."""
        return self.accuracies[cell][name] - self.accuracies[cell][to or best_probe(self.accuracies, cell.n_support)]

    def mean_difference(self, name: str, shots: Sequence[int], to: str = "") -> Estimate:
        """Over all cells with so many shots."""
        chosen = [cell for cell in self.accuracies if cell.n_support in shots]
        by_dataset = [
            [self.difference(name, cell, to) for cell in chosen if cell.dataset == d] for d in self.stage.datasets
        ]
        means = [estimate(np.mean(differences, 0).tolist()) for differences in by_dataset]
        half_width = math.sqrt(sum(mean.half_width**2 for mean in means)) / len(means)
        return Estimate(float(np.mean([mean.mean for mean in means])), half_width, len(means))

    def seconds(self, name: str, cell: Cell) -> float:
        """Of an episode, the median of the portions."""
        return float(np.median([row["seconds"] / len(row["correct"]) for row in rows_of(self.rows[cell], name)]))

    def cost(self, name: str) -> float:
        """In times of the plain recipe, the median of the cells."""
        if plan.PLAIN not in self.complete:
            return math.nan
        ratios = [self.seconds(name, cell) / self.seconds(plan.PLAIN, cell) for cell in self.accuracies]
        return float(np.median(ratios))

    def total(self, name: str, key: str) -> int:
        return sum(row[key] for rows in self.rows.values() for row in rows_of(rows, name))


def findings_of(folder: Path, stage: Stage) -> Findings:
    """Of the numbers of shots with which anything but probes is complete in all cells."""
    parts = {k: Findings(folder, replace(stage, shots=(k,))) for k in stage.shots}
    done = tuple(k for k, part in parts.items() if {*part.complete} - {*plan.PROBES})
    return Findings(folder, replace(stage, shots=done))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order given."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(p) for p in corrected]


def p_value(differences: Float[ndarray, "n"]) -> float:
    """Two-sided, of a mean of zero; 1 where all differences are zero."""
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0).pvalue) if differences.any() else 1.0


def points(found: Estimate) -> str:
    return f"{100 * found.mean:+.2f} ± {100 * found.half_width:.2f}"


def row(cells_: Sequence[str]) -> str:
    return f"| {' | '.join(cells_)} |"


def ranking_table(findings: Findings) -> Iterator[str]:
    """Every complete candidate: mean differences, its worst cell, its cost, and episodes that were not finite."""
    shots = findings.stage.shots
    heads = [f"{k}-shot" for k in shots]
    yield row(["candidate", "all cells", *heads, "worst cell", f"time, × {plan.PLAIN}", "not finite"])
    yield row(["---"] * (len(heads) + 5))
    ranked = sorted(findings.complete, key=lambda name: -findings.mean_difference(name, shots).mean)
    for name in ranked:
        means = [points(findings.mean_difference(name, part)) for part in (shots, *([k] for k in shots))]
        worst = min(float(findings.difference(name, cell).mean()) for cell in findings.accuracies)
        cost = findings.cost(name)
        cost_text = "-" if math.isnan(cost) else f"{cost:.2g}"
        yield row([f"`{name}`", *means, f"{100 * worst:+.2f}", cost_text, str(findings.total(name, "not_finite"))])


def cell_table(findings: Findings, name: str) -> Iterator[str]:
    """One candidate in every cell: accuracy and differences, among them to the probe that is given the same views."""
    heads = ["accuracy", "to the best probe", "p (Holm)", "to the cell's best", "to `lr`", "to probes over views"]
    yield row(["dataset", "backbone", "shots", *heads])
    yield row(["---"] * 9)
    corrected = holm([p_value(findings.difference(name, cell)) for cell in findings.accuracies])
    for (cell, found), p in zip(findings.accuracies.items(), corrected, strict=True):
        best_here = max((found[probe] for probe in plan.PROBES if probe in found), key=np.mean)
        mean = estimate(found[name].tolist())
        others = [findings.difference(name, cell), found[name] - best_here]
        others += [findings.difference(name, cell, to) for to in ("lr", plan.UNTUNED[-1])]
        to_best, *differences = (points(estimate(values.tolist())) for values in others)
        accuracy = f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f}"
        p_text = "< 0.001" if p < 0.001 else f"{p:.3f}"
        yield row([cell.dataset, cell.backbone, str(cell.n_support), accuracy, to_best, p_text, *differences])


def verdict(findings: Findings, name: str) -> str:
    """In how many cells the candidate is significantly above and below the best probe."""
    differences = [findings.difference(name, cell) for cell in findings.accuracies]
    corrected = holm([p_value(values) for values in differences])
    signs = [np.sign(values.mean()) for values, p in zip(differences, corrected, strict=True) if p < 0.05]
    above, below = signs.count(1), signs.count(-1)
    shots = findings.stage.shots
    to_views = ", ".join(f"{points(findings.mean_difference(name, [k], plan.UNTUNED[-1]))} ({k}-shot)" for k in shots)
    return (
        f"`{name}` is significantly above the best probe in {above} of {len(corrected)} cells, below in {below}. "
        f"To the probes over the same views (`{plan.UNTUNED[-1]}`) it is {to_views}."
    )


def report(folder: Path, found: Sequence[Findings], costs: dict[str, Costs]) -> Iterator[str]:
    yield "# The search for the recipe\n"
    yield "```text\n" + (folder / "log.txt").read_text(encoding="utf-8") + "```"
    for findings in found:
        stage = findings.stage
        yield f"\n## {stage.name.capitalize()}: {', '.join(stage.datasets)}\n"
        yield f"{stage.n_episodes} episodes a cell, seed {stage.seed}.\n"
        probes = {k: best_probe(findings.accuracies, k) for k in stage.shots}
        yield from (f"The best probe, {k}-shot: `{probe}`.  " for k, probe in probes.items())
        yield ""
        yield from ranking_table(findings)
        if stage.name not in (plan.CONFIRMATION.name, plan.TARGET.name) or "bn" not in findings.complete:
            continue
        yield "\n" + verdict(findings, "bn") + "\n"
        yield from cell_table(findings, "bn")
    for device, here in costs.items():
        yield f"\n## Cost, in times of `{plan.PLAIN}`: {device}\n"
        yield from cost_table(here)


def cost_table(costs: Costs) -> Iterator[str]:
    """Times of an episode in those of plain tuning, which itself is given in seconds."""
    cells = dict.fromkeys((backbone, shots) for backbone, shots, _ in costs)
    yield row(["candidate", *(f"{backbone}, {shots}-shot" for backbone, shots in cells)])
    yield row(["---"] * (len(cells) + 1))
    for name in dict.fromkeys(name for *_, name in costs):
        ratios = [costs.get((*cell, name), math.nan) / costs[*cell, plan.PLAIN] for cell in cells]
        yield row([f"`{name}`", *(f"{ratio:.2g}" for ratio in ratios)])
    yield row([f"`{plan.PLAIN}`, s", *(f"{costs[*cell, plan.PLAIN]:.2g}" for cell in cells)])


def draw(group: Sequence[Findings], costs: Costs, path: Path) -> None:
    """Mean difference to the best probe against cost, a panel for each number of shots.

    Of findings with the same shots, the first ones where a candidate is complete tell.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shots = sorted({k for findings in group for k in findings.stage.shots})
    figure, panels = plt.subplots(1, len(shots), figsize=(4 * len(shots), 3.6), layout="constrained", squeeze=False)
    for panel, k in zip(panels[0], shots, strict=True):
        of_shots = [findings for findings in group if k in findings.stage.shots]
        for name in plan.DRAWN:
            findings = next((one for one in of_shots if name in one.complete), None)
            times = [costs[backbone, k, name] for backbone in plan.BACKBONES if (backbone, k, name) in costs]
            if findings is None or not times:
                continue
            found, seconds = findings.mean_difference(name, [k]), float(np.mean(times))
            colour = "C3" if name == "bn" else "C0" if name in plan.PROBES else "C1"
            panel.errorbar(seconds, 100 * found.mean, 100 * found.half_width, fmt="o", color=colour, capsize=2)
            text = "probes over views" if name == plan.UNTUNED[-1] else name
            panel.annotate(text, (seconds, 100 * found.mean), xytext=(4, 4), textcoords="offset points", fontsize=8)
        panel.axhline(0, color="grey", linewidth=0.5)
        panel.set(xscale="log", xlabel="seconds per episode", title=f"{k}-shot")
        panel.margins(x=0.35, y=0.25)
    panels[0][0].set_ylabel("difference to the best probe, points")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder

    def found(*stages: Stage) -> list[Findings]:
        return [findings for stage in stages if (findings := findings_of(folder, stage)).stage.shots]

    searched, costs = found(plan.SEARCH, plan.FINAL), medians(folder)
    drawn = {"confirmation": found(plan.CONFIRMATION), "targets": found(plan.TARGET, *plan.PUBLISHED_TARGETS)}
    lines = report(folder, [*searched, *drawn["confirmation"], *drawn["targets"]], costs)
    (folder / "README.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for name, group in drawn.items():
        if costs and group:
            draw(group, next(iter(costs.values())), folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
