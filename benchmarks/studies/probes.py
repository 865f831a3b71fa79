"""Which probe is the best opponent: candidates compared on development data, on the same episodes.

    python -m benchmarks.studies.probes --data ../shared/data-dev --weights ../shared/weights

Every candidate on every cell (dataset, backbone, number of shots), 5-way, 15 queries. No target dataset is looked at.
The folder of the record gets study.jsonl, a line for each candidate and cell with the correct queries of every episode,
and README.md, the table made of it. A study that was stopped goes on when the same command is given again.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.studies.cells import N_QUERY, N_WAY, Cell, adapter_of
from fewshot_bn import __version__
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.evaluation.metrics import expected_calibration_error
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.source import Source
from fewshot_bn.results.statistics import paired_difference

DATASETS = ("gtsrb", "herlev_pap", "plankton", "trashnet", "digits")
BACKBONES = ("mobilenet_v2_035", "mobilenet_v1_025", "resnet20")
SHOTS = (1, 5, 20)
REFERENCE = "lr scaling=raw select=fixed C=1"
SCALINGS = ("raw", "l2", "standard", "centred_l2")


def candidates() -> Iterator[str]:
    """Each as a mode and its settings."""
    yield REFERENCE
    for scaling in SCALINGS:
        yield f"lr scaling={scaling} select=kfold C=10"
        yield from (f"lr scaling={scaling} select=fixed C={C}" for C in (1, 10, 100) if (scaling, C) != ("raw", 1))
        yield from (f"{mode} scaling={scaling}" for mode in ("proto", "ridge", "lda"))
    yield "lr scaling=l2 select=loo C=10"
    yield from (f"svm scaling={scaling}" for scaling in ("raw", "l2"))
    yield from (f"knn {settings}" for settings in ("k=1", "k=1 metric=cosine"))
    yield "cosine"


def try_out(candidate: str, source: Source, cell: Cell, n_episodes: int) -> dict[str, Any]:
    outcomes = list(evaluate(adapter_of(candidate), source, cell.episodes(source, 0, n_episodes)))
    gaps = [gap for outcome in outcomes for gap in outcome.measures["gaps"]]
    return {
        "correct": [n for outcome in outcomes for n in outcome.correct],
        "not_converged": sum(outcome.converged.count(False) for outcome in outcomes),
        "nll": sum(sum(outcome.measures["nll"]) for outcome in outcomes) / n_episodes,
        "ece": expected_calibration_error(gaps, N_WAY * N_QUERY),
        "seconds": sum(outcome.seconds for outcome in outcomes),
    }


def tables(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for n_support in SHOTS:
        here = [row for row in rows if row["n_support"] == n_support]
        reference = {place(row): row for row in here if row["candidate"] == REFERENCE}
        lines = [summary(name, [row for row in here if row["candidate"] == name], reference) for name in candidates()]
        yield f"\n## {n_support}-shot, {len(reference)} cells\n"
        yield "| candidate | difference to the reference | worst cell | NLL | ECE | s/episode | not converged |"
        yield "|---|---|---|---|---|---|---|"
        yield from (line for _, line in sorted(lines, reverse=True) if line)


def place(row: dict[str, Any]) -> tuple[str, str]:
    return row["dataset"], row["backbone"]


def summary(
    name: str, rows: Sequence[dict[str, Any]], reference: dict[tuple[str, str], dict[str, Any]]
) -> tuple[float, str]:
    """The mean of the paired differences over cells, each cell counting the same, and a line of the table."""
    if len(rows) < len(reference) or not rows:
        return -math.inf, ""
    n_queries = N_WAY * N_QUERY
    pairs = [(np.array(row["correct"]), np.array(reference[place(row)]["correct"])) for row in rows]
    differences = [paired_difference((a / n_queries).tolist(), (b / n_queries).tolist()) for a, b in pairs]
    mean = float(np.mean([difference.mean for difference in differences]))
    half_width = math.sqrt(sum(difference.half_width**2 for difference in differences)) / len(differences)
    nll, ece, seconds = (np.mean([row[key] for row in rows]) for key in ("nll", "ece", "seconds"))
    worst = 100 * min(difference.mean for difference in differences)
    cells = [
        f"`{name}`",
        f"{100 * mean:+.2f} ± {100 * half_width:.2f}",
        f"{worst:+.2f}",
        f"{nll:.3f}",
        f"{100 * ece:.1f}",
        f"{seconds / len(pairs[0][0]):.1g}",
        f"{sum(row['not_converged'] for row in rows)}",
    ]
    return mean, f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the development sets")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--n-episodes", type=int, default=200)
    parser.add_argument("--output", type=Path, required=True, help="folder of the record, new or to be continued")
    args = parser.parse_args(argv)
    keep_freed_memory()
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "study.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["dataset"], row["backbone"], row["n_support"], row["candidate"]) for row in rows}
    for dataset in DATASETS:
        for backbone in BACKBONES:
            source = Cell(dataset, backbone, 0).source(args.data, args.weights, torch.device("cpu"))
            for n_support in SHOTS:
                for candidate in candidates():
                    key = {"dataset": dataset, "backbone": backbone, "n_support": n_support, "candidate": candidate}
                    if tuple(key.values()) in done:
                        continue
                    rows.append(key | try_out(candidate, source, Cell(dataset, backbone, n_support), args.n_episodes))
                    with path.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                print(f"{dataset}, {backbone}, {n_support}-shot: done", flush=True)
    command = " ".join(["python -m benchmarks.studies.probes", *(sys.argv[1:] if argv is None else argv)])
    command = command.replace(str(args.output), "FOLDER")
    head = f"# Probes on the development sets\n\n`{command}`, {time.strftime('%Y-%m-%d')}, fewshot_bn {__version__}"
    (args.output / "README.md").write_text("\n".join([head, *tables(rows), ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
