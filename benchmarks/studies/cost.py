"""What the recipe costs: its time, that of plain BatchNorm tuning, of published recipes and of probes, in turn.

    python -m benchmarks.studies.cost --data ../shared/data-dev --weights ../shared/weights --output FOLDER

Adds to cost.jsonl in the record of a recipe study: seconds per episode of traffic signs, queries included, for each
backbone and number of shots. Time depends on the size and number of images, not on what they show. For probes the
features of all images are there beforehand. Nothing else should run beside it; on a CPU, one thread gives the steadier
ratios (OMP_NUM_THREADS=1).
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.studies import plan
from benchmarks.studies.cells import Cell, adapter_of
from benchmarks.studies.recipe import read_rows
from benchmarks.timing.record import machine_of
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.runtime import choose_device

DATASET, SEED = "gtsrb", 0
EPISODES = {"cpu": 2, "cuda": 200}  # timed at once
Costs = dict[tuple[str, int, str], float]  # seconds per episode by backbone, shots and candidate


def measure(
    cells: Iterable[Cell], data: Path, weights: Path, device: torch.device, *, names: Sequence[str], repetitions: int
) -> Iterator[dict[str, Any]]:
    for cell in cells:
        source = cell.source(data, weights, device)
        episodes = cell.episodes(source, SEED, EPISODES[device.type])
        for _ in range(repetitions):
            for name in names:
                facts = {"backbone": cell.backbone, "shots": cell.n_support, "candidate": name}
                seconds = sum(outcome.seconds for outcome in evaluate(adapter_of(name), source, episodes))
                yield facts | {"device": machine_of(device), "seconds": seconds / len(episodes)}


def medians(folder: Path) -> dict[str, Costs]:
    """Of each device; empty where nothing was measured."""
    found = defaultdict[str, dict[tuple[str, int, str], list[float]]](dict)
    for line in read_rows(folder / "cost.jsonl"):
        key = line["backbone"], line["shots"], line["candidate"]
        found[line["device"]].setdefault(key, []).append(line["seconds"])
    return {device: {key: median(seconds) for key, seconds in costs.items()} for device, costs in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the development sets")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--shots", type=int, nargs="+", default=plan.CONFIRMATION.shots)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--candidates", nargs="+", default=plan.DRAWN, metavar="NAME")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, help="folder of the record of a recipe study")
    args = parser.parse_args(argv)
    keep_freed_memory()
    args.output.mkdir(parents=True, exist_ok=True)
    device = choose_device(args.device)
    with (args.output / "cost.jsonl").open("a", encoding="utf-8") as file:
        cells = [Cell(DATASET, backbone, n_support) for backbone in plan.BACKBONES for n_support in args.shots]
        places = args.data, args.weights, device
        for line in measure(cells, *places, names=args.candidates, repetitions=args.repetitions):
            print(json.dumps(line), file=file, flush=True)
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
