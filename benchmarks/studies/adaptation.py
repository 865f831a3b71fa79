"""Every way to adapt on the same episodes: the search for default recipes of `ft`, `tsa` and `lora`, and a comparison.

    python -m benchmarks.studies.adaptation search --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation confirm --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.adaptation targets --data FOLDER --weights FOLDER --output FOLDER
    python -m benchmarks.studies.report FOLDER

Everything that is compared with `bn` sees the same views of the images as it does, and is read out in the same way, so
what differs is what moves. `search` tries recipes on a few episodes of the development sets, from which defaults are
set by hand; `confirm` measures those on episodes of another seed; `targets` measures them once, and takes no part in
any choice.

Each part adds result files to FOLDER and makes record.npz of all of them. It goes on where it was stopped.
"""

import sys
from collections.abc import Sequence

from benchmarks.studies.recipe import DEVELOPMENT, TARGETS, UNTUNED, Stage, run_part

AS_BN = "head=lr C=10 scaling=l2 lr_head=0 readout=lr+ridge test_augment=flip,centre epochs=10 batch_size=13"
PROBES = ("lr", "ridge", UNTUNED[-1])
FINE_TUNING = (
    *(f"ft {AS_BN} optimiser=adam lr_body={rate}" for rate in ("1e-4", "3e-4", "1e-3")),
    *(f"ft {AS_BN} lr_body={rate}" for rate in ("0.01", "0.1")),
    f"ft {AS_BN} optimiser=adam lr_body=3e-4 statistics=batch",
    f"ft {AS_BN} optimiser=adam lr_body=3e-4 scope=last",
    f"ft {AS_BN} optimiser=adam lr_body=1e-3 scope=last",
    f"ft {AS_BN} optimiser=adam lr_body=1e-3 scope=bias",
    f"ft {AS_BN} optimiser=adam lr_body=1e-2 scope=bias",
    "ft",
    "lp-ft",
)
PUBLISHED = ("ft-cdfsl", "daft", "bitfit")
SEARCH = Stage("search", DEVELOPMENT, 0, (1, 5), 6, (*PROBES, "bn", *FINE_TUNING))
CONFIRMATION = Stage("confirmation", DEVELOPMENT, 1, (1, 5, 20), 100, (*PROBES, "bn", "ft", "lp-ft"))
TARGET = Stage("targets", TARGETS, 0, (1, 5, 20), 100, (*PROBES, "bn", "ft", "lp-ft"))
PARTS = {
    "search": (SEARCH,),
    "confirm": (CONFIRMATION,),
    "targets": (TARGET, Stage("published", TARGETS, 0, (1, 5), 12, PUBLISHED, "targets")),
}


def main(argv: Sequence[str] | None = None) -> int:
    return run_part(__doc__, PARTS, argv)


if __name__ == "__main__":
    sys.exit(main())
