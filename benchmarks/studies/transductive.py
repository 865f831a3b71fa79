"""What transductive modes gain on frozen features, and with which settings: on development data, on the same episodes.

    python -m benchmarks.studies.transductive --data ../shared/data-dev --weights ../shared/weights --output FOLDER

The search (seed 0) changes one or two settings of each mode at a time; the confirmation (seed 1) compares the modes as
they are with the nearest class mean, `lr` and `ridge`, and with the nearest class mean under the same scaling, which is
`soft-kmeans steps=0`. 5-way, 15 queries of each class, 100 episodes in every cell (dataset, backbone, number of shots).
No target dataset is looked at. FOLDER gets the result files, record.npz made of them, and README.md, the tables.
"""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.studies.experiments import carry_out, experiment, parser
from benchmarks.studies.probes import BACKBONES, DATASETS
from benchmarks.studies.record import Run
from fewshot_bn import __version__
from fewshot_bn.adapters.probes.scaling import JointScaling
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.results.statistics import average, student

SHOTS = (1, 5)
REFERENCES = ("proto", "lr")
SCALINGS: tuple[JointScaling, ...] = ("raw", "l2", "centred_l2", "centred_each_l2")  # beside the one they have
CHANGES = {
    "soft-kmeans": (
        *(f"scaling={scaling}" for scaling in SCALINGS[1:]),
        "scaling=raw temperature=1",
        *(f"temperature={temperature}" for temperature in (0.02, 0.05, 0.2, 0.5)),
        *(f"steps={steps}" for steps in (0, 3, 10)),
    ),
    "label-propagation": (
        *(f"scaling={scaling}" for scaling in SCALINGS),
        *(f"neighbours={neighbours}" for neighbours in (5, 10, 50)),
        *(f"alpha={alpha}" for alpha in (0.2, 0.7, 0.9, 0.99)),
        *(f"width={width}" for width in (0.2, 0.5, 1)),
        "neighbours=5 width=1",
        "alpha=0.99 width=1",
    ),
    "laplacian": (
        *(f"scaling={scaling}" for scaling in SCALINGS),
        *(f"temperature={temperature}" for temperature in (0.1, 0.3)),
        *(f"neighbours={neighbours}" for neighbours in (1, 5, 10)),
        *(f"strength={strength}" for strength in (0.1, 0.5, 0.7, 1)),
    ),
}
CONTROL = "soft-kmeans steps=0"
CONFIRMED = (*REFERENCES, "ridge", CONTROL, *CHANGES)
SEARCHED = (*REFERENCES, *CHANGES, *(f"{mode} {change}" for mode, changes in CHANGES.items() for change in changes))
STAGES = {"search": (0, SEARCHED), "confirmation": (1, CONFIRMED)}


def tables(runs: Sequence[Run]) -> Iterator[str]:
    """One of each stage, with a line for each candidate that has been through all cells."""
    for stage, (seed, candidates) in STAGES.items():
        ours = {(run.candidate, run.n_support, run.dataset, run.backbone): run for run in runs if run.stage == stage}
        cells = sorted({key[2:] for key in ours})
        yield f"\n## {stage.capitalize()}, seed {seed}, {len(cells)} cells for each number of shots\n"
        titles = [f"{k}-shot: {title}" for k in SHOTS for title in ("to `proto`", "to `lr`", "worst to `lr`", "ms")]
        yield f"| candidate | {' | '.join([*titles, 'not converged'])} |"
        yield "|---" * (len(titles) + 2) + "|"
        for name in candidates:
            found = [[ours[name, k, *cell] for cell in cells] for k in SHOTS]
            base = {other: [[ours[other, k, *cell] for cell in cells] for k in SHOTS] for other in REFERENCES}
            lines = (summary(mine, proto, lr) for mine, proto, lr in zip(found, base["proto"], base["lr"], strict=True))
            failed = sum(int((~run.converged).sum()) for run in itertools.chain(*found))
            yield f"| `{name}` | {' | '.join([*itertools.chain(*lines), str(failed)])} |"


def summary(mine: Sequence[Run], proto: Sequence[Run], lr: Sequence[Run]) -> list[str]:
    """Means over the cells of paired differences, and the median of the milliseconds of an episode."""

    def differences(others: Sequence[Run]) -> list[list[float]]:
        return [np.subtract(a.accuracies, b.accuracies).tolist() for a, b in zip(mine, others, strict=True)]

    to_proto, to_lr = ([student(values) for values in differences(others)] for others in (proto, lr))
    means = [average(found) for found in (to_proto, to_lr)]
    return [
        *(f"{100 * mean.mean:+.2f} ± {100 * mean.half_width:.2f}" for mean in means),
        f"{100 * min(difference.mean for difference in to_lr):+.2f}",
        f"{1000 * np.median([run.seconds for run in mine]):.2g}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    args = parser(__doc__).parse_args(argv)
    keep_freed_memory()
    runs: list[Run] = []
    for stage, (seed, candidates) in STAGES.items():
        shared = {"stage": stage, "seed": seed, "n_support": SHOTS, "n_episodes": args.n_episodes or 100}
        subjects = itertools.product(DATASETS, BACKBONES)
        runs = carry_out((experiment(args, subject, candidates, **shared) for subject in subjects), args.output)
    command = " ".join(["python -m benchmarks.studies.transductive", *(sys.argv[1:] if argv is None else argv)])
    command = command.replace(str(args.output), "FOLDER")
    head = f"# Transductive modes on the development sets\n\n`{command}`, {time.strftime('%Y-%m-%d')}, "
    text = "\n".join([f"{head}fewshot_bn {__version__}", *tables(runs), ""])
    (args.output / "README.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
