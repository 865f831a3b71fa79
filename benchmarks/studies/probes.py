"""Which probe is the best opponent: candidates compared on development data, on the same episodes.

    python -m benchmarks.studies.probes --data ../shared/data-dev --weights ../shared/weights --output FOLDER

Every candidate in every cell (dataset, backbone, number of shots), 5-way, 15 queries. No target dataset is looked at.
FOLDER gets the result files, record.npz made of them, and README.md, the table. A study that was stopped goes on when
the same command is given again.
"""

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.studies.experiments import carry_out, experiment, parser
from benchmarks.studies.record import Run
from fewshot_bn import __version__
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.results.statistics import average, student

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


Cells = Mapping[tuple[str, str], Run]  # of a candidate and a number of shots, by dataset and backbone


def tables(runs: Sequence[Run]) -> Iterator[str]:
    for n_support in SHOTS:
        found: dict[str, dict[tuple[str, str], Run]] = defaultdict(dict)
        for run in runs:
            if run.n_support == n_support:
                found[run.candidate][run.dataset, run.backbone] = run
        reference = found[REFERENCE]
        complete = [name for name in candidates() if found[name].keys() == reference.keys()]
        lines = [summary(name, found[name], reference) for name in complete]
        yield f"\n## {n_support}-shot, {len(reference)} cells\n"
        yield "| candidate | difference to the reference | worst cell | NLL | ECE | s/episode | not converged |"
        yield "|---|---|---|---|---|---|---|"
        yield from (line for _, line in sorted(lines, reverse=True))


def summary(name: str, runs: Cells, reference: Cells) -> tuple[float, str]:
    """The mean of the paired differences over cells, each cell counting the same, and a line of the table."""
    others = [(run.accuracies, reference[cell].accuracies) for cell, run in runs.items()]
    differences = [student(np.subtract(accuracies, baseline).tolist()) for accuracies, baseline in others]
    mean = average(differences)
    nll, ece, seconds = np.mean([(run.nll.mean(dtype=float), run.ece, run.seconds) for run in runs.values()], 0)
    cells = [
        f"`{name}`",
        f"{100 * mean.mean:+.2f} ± {100 * mean.half_width:.2f}",
        f"{100 * min(difference.mean for difference in differences):+.2f}",
        f"{nll:.3f}",
        f"{100 * ece:.1f}",
        f"{seconds:.1g}",
        f"{sum(int((~run.converged).sum()) for run in runs.values())}",
    ]
    return mean.mean, f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    args = parser(__doc__).parse_args(argv)
    keep_freed_memory()
    shared = {"stage": "probes", "n_support": SHOTS, "n_episodes": args.n_episodes or 200}
    subjects = itertools.product(DATASETS, BACKBONES)
    runs = carry_out((experiment(args, subject, candidates(), **shared) for subject in subjects), args.output)
    command = " ".join(["python -m benchmarks.studies.probes", *(sys.argv[1:] if argv is None else argv)])
    command = command.replace(str(args.output), "FOLDER")
    head = f"# Probes on the development sets\n\n`{command}`, {time.strftime('%Y-%m-%d')}, fewshot_bn {__version__}"
    (args.output / "README.md").write_text("\n".join([head, *tables(runs), ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
