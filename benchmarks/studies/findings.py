"""What the record of a recipe study says of its stages: accuracies, differences to the best probe, costs.

Differences are to the best probe of each number of shots, best on the very same episodes and on the average of the
cells, so chosen with hindsight in favour of the probe. Intervals are of the mean over the cells at hand: the cells of a
dataset share their episodes, so they are averaged episode by episode first; datasets are independent. Significance is
that of paired t-tests after Holm's correction over all cells of a stage.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from benchmarks.studies import recipe
from benchmarks.studies.recipe import Cell, Stage
from benchmarks.studies.record import Run
from fewshot_bn.results.statistics import Estimate, average, holm, paired_p_value, student

Runs = Sequence[Run]
Costs = dict[tuple[str, int, str], float]  # seconds per episode by backbone, shots and candidate


@dataclass(frozen=True)
class Findings:
    """What is there of a stage."""

    record: Runs
    stage: Stage

    @cached_property
    def runs(self) -> dict[Cell, dict[str, Run]]:
        """Of the candidates that have all episodes, in every cell."""
        found: dict[Cell, dict[str, Run]] = {cell: {} for cell in self.stage.cells()}
        for run in self.record:
            cell = Cell(run.dataset, run.backbone, run.n_support)
            of_stage = run.stage == self.stage.place and run.seed == self.stage.seed and cell in found
            if of_stage and len(run.correct) >= self.stage.n_episodes:
                found[cell][run.candidate] = run
        return found

    @cached_property
    def accuracies(self) -> dict[Cell, dict[str, Float[ndarray, "n"]]]:
        n = self.stage.n_episodes
        return {
            cell: {name: np.array(run.accuracies[:n]) for name, run in runs.items()} for cell, runs in self.runs.items()
        }

    @cached_property
    def complete(self) -> list[str]:
        """The candidates that have all episodes in all cells."""
        return [name for name in recipe.CANDIDATES if all(name in runs for runs in self.runs.values())]

    @cached_property
    def best_probes(self) -> dict[int, str]:
        """For each number of shots, the probe with the best mean over its cells, of those that are complete."""
        probes = [name for name in recipe.PROBES if name in self.complete]
        found = {k: [a for cell, a in self.accuracies.items() if cell.n_support == k] for k in self.stage.shots}
        return {k: max(probes, key=lambda name, k=k: np.mean([a[name].mean() for a in found[k]])) for k in found}

    def difference(self, name: str, cell: Cell, to: str = "") -> Float[ndarray, "n"]:
        """To another candidate or to the best probe of so many shots, episode by episode."""
        return self.accuracies[cell][name] - self.accuracies[cell][to or self.best_probes[cell.n_support]]

    def mean_difference(self, name: str, shots: Sequence[int], to: str = "") -> Estimate:
        """Over all cells with so many shots."""
        return over_datasets({cell: self.difference(name, cell, to) for cell in self.runs if cell.n_support in shots})

    def p_values(self, name: str) -> list[float]:
        """Of the difference to the best probe in each cell, after Holm's correction."""
        best = self.best_probes
        return holm([paired_p_value(a[name].tolist(), a[best[k]].tolist()) for (*_, k), a in self.accuracies.items()])

    def cost(self, name: str) -> float:
        """In times of the plain recipe, the median of the cells."""
        if recipe.PLAIN not in self.complete:
            return math.nan
        return median(runs[name].seconds / runs[recipe.PLAIN].seconds for runs in self.runs.values())

    def not_finite(self, name: str) -> int:
        """Episodes."""
        return sum(int((~runs[name].finite).sum()) for runs in self.runs.values())


def over_datasets(values: Mapping[Cell, Float[ndarray, "n"]]) -> Estimate:
    """The mean over the cells; those of a dataset share their episodes, of which the first that all have count."""
    by_dataset = defaultdict[str, list[Float[ndarray, "n"]]](list)
    for cell, of_cell in values.items():
        by_dataset[cell.dataset].append(of_cell)
    shared = ([of_cell[: min(map(len, cells))] for of_cell in cells] for cells in by_dataset.values())
    return average([student(np.mean(of_dataset, 0).tolist()) for of_dataset in shared])


def findings_of(record: Runs, *stages: Stage) -> list[Findings]:
    """Of the numbers of shots with which anything but probes is complete in all cells; of stages that have any."""
    found = []
    for stage in stages:
        parts = {k: Findings(record, replace(stage, shots=(k,))) for k in stage.shots}
        done = tuple(k for k, part in parts.items() if {*part.complete} - {*recipe.PROBES})
        found += [Findings(record, replace(stage, shots=done))] if done else []
    return found


def costs_of(record: Runs) -> dict[str, Costs]:
    """Of each device, the median of the repetitions; empty if nothing was measured."""
    found = defaultdict[str, defaultdict[tuple[str, int, str], list[float]]](lambda: defaultdict(list))
    for run in record:
        if run.stage.startswith("cost"):
            found[run.device][run.backbone, run.n_support, run.candidate].append(run.seconds)
    return {device: {key: median(seconds) for key, seconds in costs.items()} for device, costs in found.items()}
