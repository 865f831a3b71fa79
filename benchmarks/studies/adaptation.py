"""Every way to adapt on the same episodes: the search for default recipes of `ft`, `tsa` and `lora`, and a comparison.

    python -m benchmarks.studies.adaptation search --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation confirm --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation modes --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation targets --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation cost --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.comparison FOLDER

Everything that is compared with `bn` sees the same views of the images as it does, and is read out in the same way, so
what differs is what moves. `search` tries recipes on a few episodes of the development sets, from which defaults are
set by hand; `confirm` measures those on episodes of another seed; `modes` measures all other modes, the slow ones on
few episodes; `targets` measures once, and takes no part in any choice; `cost` measures seconds per episode of traffic
signs, beside which nothing else should run. `bn` and the probes were measured on the same episodes by recipe.py; their
runs are taken from its record.

Each part adds result files to FOLDER and makes record.npz of all of them. It goes on where it was stopped.
"""

import sys
from collections.abc import Sequence

from benchmarks.studies.recipe import DEVELOPMENT, TARGETS, UNTUNED, Stage, run_part

AS_BN = "head=lr C=10 scaling=l2 lr_head=0 readout=lr+ridge test_augment=flip,centre epochs=10 batch_size=13"
VIEWS = "scaling=l2 readout=lr+ridge test_augment=flip,centre"
FINE_TUNING = (
    *(f"ft-plain {AS_BN} optimiser=adam lr_body={rate}" for rate in ("1e-4", "3e-4", "1e-3")),
    *(f"ft-plain {AS_BN} optimiser=adam units=relative lr_body={rate}" for rate in ("0.3", "1", "3")),
    *(f"ft-plain {AS_BN} units=relative lr_body={rate}" for rate in ("300", "1000", "3000", "10000")),
    *(f"ft lr_body={rate}" for rate in ("0.3", "0.4", "0.6", "0.8", "1.2")),
    *(f"ft scope={scope}" for scope in ("last", "scales", "last,scales")),
    *(f"ft scope=last,scales lr_body={rate}" for rate in ("0.3", "0.9")),
)
ADAPTERS = (
    f"tsa-ncm {VIEWS}",
    *(f"tsa units=absolute lr_alpha={rate}" for rate in ("1e-3", "4e-3", "1.6e-2")),
    *(f"tsa lr_alpha={rate}" for rate in ("0.6", "1")),
    *(f"lora units=absolute lr_factors={rate}" for rate in ("1e-3", "3e-3", "1e-2", "3e-2")),
    *(f"lora lr_factors={rate}" for rate in ("0.15", "0.6")),
)
SEARCH = Stage("search", DEVELOPMENT, 0, (1, 5), 8, ("bn", UNTUNED[-1], *FINE_TUNING, *ADAPTERS))
CONFIRMED = ("ft", "bn-last", "tsa", "lora")
PROBES = ("proto", "lr", "lr-c1", "ridge", "lda", "knn", "svm", "cosine")
TRANSDUCTIVE = ("soft-kmeans", "label-propagation", "laplacian", "adabn-query")
QUICK = (*PROBES, *TRANSDUCTIVE, "adabn", UNTUNED[-1])
PLAIN = ("bn-plain", "ft-plain", "ft-last", "bias")
PUBLISHED = ("bn-all", "bn-cdfsl", "ft-cdfsl", "lp-ft", "daft", "bitfit", "tsa-ncm")  # bn23 exists for ResNets only
CONFIRMATION = Stage("confirmation", DEVELOPMENT, 1, (1, 5, 20), 100, CONFIRMED)
MODES = (
    Stage("quick modes", DEVELOPMENT, 1, (5,), 100, QUICK, "confirmation"),
    Stage("slow modes", DEVELOPMENT, 1, (5,), 8, (*PLAIN, *PUBLISHED), "confirmation"),
)
TARGET = Stage("targets", TARGETS, 0, (1, 5, 20), 100, CONFIRMED)
ALL = ("bn", *CONFIRMED, *QUICK, *PLAIN, *PUBLISHED)
COST = tuple(Stage(f"cost {repetition}", ("gtsrb",), 0, (5,), 2, ALL) for repetition in (1, 2, 3))
PARTS = {"search": (SEARCH,), "confirm": (CONFIRMATION,), "modes": MODES, "targets": (TARGET,), "cost": COST}


def main(argv: Sequence[str] | None = None) -> int:
    return run_part(__doc__, PARTS, argv)


if __name__ == "__main__":
    sys.exit(main())
