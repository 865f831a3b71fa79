"""The tables and the plot of the study of adaptation: README.md and modes.png beside its record.npz.

    python -m benchmarks.studies.comparison FOLDER

Every mode is compared with `bn` on the episodes that both have, the first ones of the same list. Runs of `bn` and the
probes are those of the study of its recipe, whose record is read; a run counts only if it has the settings that its
mode has today. Means are over the cells at hand, as in findings.py, and intervals those of paired differences.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from benchmarks.studies.adaptation import CONFIRMED
from benchmarks.studies.experiments import adapter_of
from benchmarks.studies.findings import Costs, costs_of, over_datasets
from benchmarks.studies.recipe import BACKBONES, UNTUNED, Cell
from benchmarks.studies.record import NAME, Run, read
from benchmarks.studies.report import against_cost, mark, points, row
from fewshot_bn.adapters import settings_of

RECORDS = Path(__file__).parents[1] / "results"
OF_RECIPE = RECORDS / "2026-11-26-recipe-study" / NAME
OPPONENT, VIEWS, PROBE = "bn", UNTUNED[-1], "lr"
STAGES = {"confirmation": "Development sets", "targets": "Targets"}
Modes = Mapping[str, Mapping[Cell, Run]]


def modes_of(record: Sequence[Run], stage: str) -> Modes:
    """The runs of each candidate in this stage, of those whose settings are today's; the longest of each cell."""
    found: dict[str, dict[Cell, Run]] = {}
    for run in record:
        if run.stage == stage and json.loads(run.settings) == settings_of(adapter_of(run.candidate)):
            runs, cell = found.setdefault(run.candidate, {}), Cell(run.dataset, run.backbone, run.n_support)
            runs[cell] = max(runs.get(cell, run), run, key=lambda each: len(each.correct))
    return found


def difference(mine: Run, other: Run) -> Float[ndarray, "n"]:
    """Accuracy of each episode that both have, less that of the other."""
    n = min(len(mine.correct), len(other.correct))
    return np.subtract(mine.accuracies[:n], other.accuracies[:n])


def within(modes: Modes, n_support: int, backbone: str = "") -> Modes:
    """The runs in the cells with so many shots, under that backbone or any."""
    wanted = (backbone,) if backbone else BACKBONES
    return {
        name: {cell: run for cell, run in runs.items() if cell.n_support == n_support and cell.backbone in wanted}
        for name, runs in modes.items()
    }


def differences(modes: Modes, name: str, to: str = OPPONENT) -> dict[Cell, Float[ndarray, "n"]]:
    """In the cells that both have."""
    others = modes.get(to, {})
    return {cell: difference(run, others[cell]) for cell, run in modes[name].items() if cell in others}


def mean(values: Mapping[Cell, Float[ndarray, "n"]]) -> str:
    return points(over_datasets(values)) if values else "-"


def summary(modes: Modes, costs: Costs) -> Iterator[str]:
    """Every mode: differences over all cells, its worst cell, and its time in times of that of `bn`."""
    for k in sorted({cell.n_support for runs in modes.values() for cell in runs}):
        here = within(modes, k)
        to_bn = {name: found for name in here if (found := differences(here, name))}
        yield f"\n### {k}-shot\n"
        heads = ["to `bn`", *(f"to `bn`, {backbone}" for backbone in BACKBONES), "worst cell", "to `lr`", "over views"]
        yield row(["mode", "cells", "episodes", *heads, *(f"time, {backbone}" for backbone in BACKBONES)])
        yield row(["---"] * (5 + len(heads)))
        for name in sorted(to_bn, key=lambda name: -over_datasets(to_bn[name]).mean):
            found = to_bn[name]
            means = [mean(differences(within(modes, k, backbone), name)) for backbone in BACKBONES]
            worst = f"{100 * min(float(values.mean()) for values in found.values()):+.2f}"
            others = [mean(differences(here, name, to)) for to in (PROBE, VIEWS)]
            times = [costs.get((b, k, name), np.nan) / costs.get((b, k, OPPONENT), np.nan) for b in BACKBONES]
            shown = ["-" if np.isnan(time) else f"{time:.2g}" for time in times]
            sizes = [str(len(found)), str(min(len(values) for values in found.values()))]
            yield row([f"`{name}`", *sizes, mean(found), *means, worst, *others, *shown])


def cells(modes: Modes, names: Sequence[str]) -> Iterator[str]:
    """The differences to `bn` of some modes in every cell."""
    found = sorted({cell for name in names for cell in modes.get(name, {})}, key=lambda c: (c[2], c[1], c[0]))
    yield row(["dataset", "backbone", "shots", "`bn`", *(f"`{name}`" for name in names)])
    yield row(["---"] * (4 + len(names)))
    for cell in found:
        bn = modes[OPPONENT][cell]
        runs = [modes.get(name, {}).get(cell) for name in names]
        shown = [mean({cell: difference(run, bn)}) if run else "-" for run in runs]
        yield row([cell.dataset, cell.backbone, str(cell.n_support), f"{100 * np.mean(bn.accuracies):.2f}", *shown])


def draw(modes: Modes, costs: Costs, n_support: int, path: Path) -> None:
    """Mean difference to `bn` against seconds of an episode, a panel for each backbone."""
    shape: dict[str, Any] = {"size": (6, 5), "margins": (0.2, 0.1), "label": "difference to bn, points", "sharey": True}
    with against_cost([f"{backbone}, {n_support}-shot" for backbone in BACKBONES], path, **shape) as panels:
        for panel, backbone in zip(panels, BACKBONES, strict=True):
            here = within(modes, n_support, backbone)
            found = {name: over_datasets(values) for name in here if (values := differences(here, name))}
            shown = [name for name in found if (backbone, n_support, name) in costs]
            for rank, name in enumerate(sorted(shown, key=lambda name, found=found: found[name].mean)):
                place = {"xytext": (-6, -3), "ha": "right"} if rank % 2 else {"xytext": (6, -3), "ha": "left"}
                probe = adapter_of(name).takes == "features"
                mark(panel, costs[backbone, n_support, name], found[name], name, probe=probe, **place)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    own, of_recipe = read(folder / NAME), read(OF_RECIPE)
    costs: Costs = next(iter(costs_of(own).values()), {})
    lines = ["# Ways to adapt, compared with `bn`\n"]
    for stage, title in STAGES.items():
        modes = modes_of([*of_recipe, *own], stage)
        lines += [f"## {title}", *summary(modes, costs), "\n### Every cell\n", *cells(modes, CONFIRMED), ""]
        if stage == "confirmation" and costs:
            draw(modes, costs, 5, folder / "modes.png")
    (folder / "README.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
