"""The search for the default recipe of norm tuning on the development sets, its confirmation, and then the targets.

    python -m benchmarks.studies.recipe search --data ../shared/data-dev --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.recipe confirm --data ../shared/data-dev --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.recipe targets --data ../shared/data --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.report FOLDER

Every candidate is paired with the probes on the same episodes. `search` tries all recipes on a few episodes of the
cells with 1 and 5 shots, and the finalists with 20; the default of `bn` is then set by hand. `confirm` measures that
default on episodes of another seed, which had no part in the choice; `targets` measures it, what is published, and the
probes, once: it takes no part in any choice.

Each cell has a file with a line for every candidate and portion of episodes. A study that was stopped goes on when the
same command is given again; given several times at once, the processes share the cells among them. log.txt tells the
order of events.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from benchmarks.studies import plan
from benchmarks.studies.cells import N_QUERY, N_WAY, Cell, FrozenViews, adapter_of, is_frozen
from benchmarks.studies.plan import Stage
from benchmarks.timing.record import machine_of
from fewshot_bn.adapters import Adapter, settings_of
from fewshot_bn.episodes import Episodes
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.source import Source
from fewshot_bn.runtime import choose_device

PORTION = {"cpu": 8, "cuda": 200}  # episodes a line
Rows = list[dict[str, Any]]  # of a cell
Accuracies = dict[Cell, dict[str, np.ndarray]]  # of candidates, an episode each


@dataclass(frozen=True, slots=True)
class Study:
    """A folder of results and where images, weights and time come from."""

    folder: Path
    data: Path
    weights: Path
    device: torch.device

    def run(self, stage: Stage, candidates: Sequence[str]) -> None:
        """Everything that is missing of a stage, together with other processes that are given the same."""
        self.note(f"{stage.name}: {len(candidates)} candidates, {stage.n_episodes} episodes: {', '.join(candidates)}")
        waiting = stage.cells()
        while waiting:
            left = [cell for cell in waiting if not self._try_cell(stage, cell, candidates)]
            if len(left) == len(waiting):
                time.sleep(5)  # others are at work on all of these
            waiting = left
        self.note(f"{stage.name}: done")

    def note(self, event: str) -> None:
        """Into the log, once however many processes say so."""
        path = self.folder / "log.txt"
        with filelock.FileLock(self.folder / ".log.lock"):
            known = path.read_text(encoding="utf-8") if path.exists() else ""
            if event not in known:
                text = f"{time.strftime('%Y-%m-%d %H:%M')} {event}\n"
                path.write_text(known + text, encoding="utf-8")
                print(text, end="", flush=True)

    def _try_cell(self, stage: Stage, cell: Cell, candidates: Sequence[str]) -> bool:
        """False where another process is at work on the cell."""
        path = file_of(self.folder, stage, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
        try:
            holding = lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        with holding:
            self._fill(path, stage, cell, candidates)
        return True

    def _fill(self, path: Path, stage: Stage, cell: Cell, candidates: Sequence[str]) -> None:
        mend(path)
        for candidate in candidates:
            portion = PORTION[self.device.type]
            for start in range(len(correct_of(read_rows(path), candidate)), stage.n_episodes, portion):
                stop = min(start + portion, stage.n_episodes)
                adapter, source = prepare(self, cell, candidate)
                episodes = cell.episodes(source, stage.seed, stop)[start:]
                line = {"candidate": candidate, "start": start, "settings": settings_of(adapter_of(candidate))}
                line |= {"device": machine_of(self.device)} | try_out(adapter, source, episodes)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


@lru_cache(maxsize=2)
def source_of(study: Study, dataset: str, backbone: str, views: str) -> Source:
    return Cell(dataset, backbone, 0).source(study.data, study.weights, study.device, views)


def file_of(folder: Path, stage: Stage, cell: Cell) -> Path:
    kind = "targets" if stage.datasets == plan.TARGETS else "development"
    return folder / f"{kind}-seed{stage.seed}" / f"{cell.dataset}_{cell.backbone}_{cell.n_support}shot.jsonl"


def prepare(study: Study, cell: Cell, candidate: str) -> tuple[Adapter, Source]:
    """The adapter and what it takes; where it leaves the network as it is, features of all views, computed once."""
    adapter = adapter_of(candidate)
    if is_frozen(adapter):
        return FrozenViews(adapter), source_of(study, cell.dataset, cell.backbone, adapter.test_augment)
    return adapter, source_of(study, cell.dataset, cell.backbone, "none")


def try_out(adapter: Adapter, source: Source, episodes: Episodes) -> dict[str, Any]:
    outcomes = list(evaluate(adapter, source, episodes))
    predicted = [row for outcome in outcomes for row in outcome.measures["predicted"]]
    return {
        "correct": [n for outcome in outcomes for n in outcome.correct],
        "nll": [value for outcome in outcomes for value in outcome.measures["nll"]],
        "not_finite": sum(row[0] < 0 for row in predicted),
        "not_converged": sum(outcome.converged.count(False) for outcome in outcomes),
        "seconds": sum(outcome.seconds for outcome in outcomes),
    }


def mend(path: Path) -> None:
    """Take off the half line that a killed process may have left."""
    if path.exists():
        content = path.read_bytes()
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def read_rows(path: Path) -> Rows:
    """The lines of a file, none where it is not there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rows_of(rows: Rows, candidate: str) -> Iterator[dict[str, Any]]:
    """Those of a candidate, by whatever name it was tried with these settings, in the order of episodes.

    A setting that a line does not have was added later, and was then what the class has as its default.
    """
    adapter = adapter_of(candidate)
    kind, settings = type(adapter), settings_of(adapter)
    defaults = settings_of(kind())
    for row in rows:
        if isinstance(adapter_of(row["candidate"]), kind) and {**defaults, **row["settings"]} == settings:
            yield row


def correct_of(rows: Rows, candidate: str) -> list[int]:
    """Correct queries of episodes 0, 1, ..."""
    return [n for row in rows_of(rows, candidate) for n in row["correct"]]


def accuracies(rows: Rows, n_episodes: int, candidates: Sequence[str]) -> dict[str, np.ndarray]:
    """The accuracy of the first episodes of a cell, for those candidates that have so many."""
    found = {name: correct_of(rows, name)[:n_episodes] for name in candidates}
    return {name: np.array(n) / (N_WAY * N_QUERY) for name, n in found.items() if len(n) == n_episodes}


def best_probe(found: Accuracies, n_support: int) -> str:
    """The probe with the best mean over the cells with so many shots, of those that are complete in all cells."""
    probes = [name for name in plan.PROBES if all(name in here for here in found.values())]
    of_shots = [here for cell, here in found.items() if cell.n_support == n_support]
    return max(probes, key=lambda name: np.mean([here[name].mean() for here in of_shots]))


def ranking(folder: Path, stage: Stage, recipes: Sequence[str]) -> list[tuple[float, str]]:
    """Mean differences to the best probe of each number of shots, the best first."""
    rows = {cell: read_rows(file_of(folder, stage, cell)) for cell in stage.cells()}
    found = {cell: accuracies(here, stage.n_episodes, (*plan.PROBES, *recipes)) for cell, here in rows.items()}
    probes = {k: best_probe(found, k) for k in stage.shots}
    means = {r: np.mean([a[r].mean() - a[probes[cell.n_support]].mean() for cell, a in found.items()]) for r in recipes}
    return sorted(((float(mean), recipe) for recipe, mean in means.items()), reverse=True)


def search(study: Study) -> None:
    for stage, recipes in ((plan.SEARCH, plan.RECIPES), (plan.FINAL, plan.FINALISTS)):
        study.run(stage, (*plan.PROBES, *recipes))
        ranked = ranking(study.folder, stage, recipes)
        study.note(f"{stage.name}: " + ", ".join(f"{name} {100 * mean:+.2f}" for mean, name in ranked))


def confirm(study: Study) -> None:
    study.run(plan.CONFIRMATION, (*plan.PROBES, "bn", *plan.UNTUNED))


def measure_targets(study: Study) -> None:
    study.run(plan.TARGET, (*plan.PROBES, "bn", *plan.UNTUNED))
    for stage in plan.PUBLISHED_TARGETS:
        study.run(stage, plan.PUBLISHED)


PARTS = {"search": search, "confirm": confirm, "targets": measure_targets}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=[*PARTS])
    parser.add_argument("--data", type=Path, required=True, help="folder of the development sets, or of the targets")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, help="folder of the record, new or to be continued")
    args = parser.parse_args(argv)
    keep_freed_memory()
    args.output.mkdir(parents=True, exist_ok=True)
    study = Study(args.output, args.data, args.weights, choose_device(args.device))
    PARTS[args.part](study)
    return 0


if __name__ == "__main__":
    sys.exit(main())
