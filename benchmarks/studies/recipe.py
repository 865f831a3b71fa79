"""The search for the default recipe of norm tuning on the development sets, its confirmation, and then the targets.

    python -m benchmarks.studies.recipe search --data ../shared/data-dev --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.recipe confirm --data ../shared/data-dev --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.recipe targets --data ../shared/data --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.recipe cost --data ../shared/data-dev --weights ../shared/weights --output FOLDER
    python -m benchmarks.studies.report FOLDER

Every candidate is paired with the probes on the same episodes. `search` tries all recipes on a few episodes of the
cells with 1 and 5 shots, and the finalists with 20; the default of `bn` is then set by hand. `confirm` measures that
default on episodes of another seed, which had no part in the choice; `targets` measures it, what is published, and the
probes, once: it takes no part in any choice.

`cost` measures seconds per episode of traffic signs, queries included, of all in turn, three times. Time depends on the
size and number of images, not on what they show; for probes the features of all images are there beforehand. Nothing
else should run beside it. On a CPU, one thread gives the steadier ratios (OMP_NUM_THREADS=1); on a GPU, take 200
episodes.

Each part adds result files to FOLDER and makes record.npz of all of them. It goes on where it was stopped.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.studies.experiments import carry_out, experiment, parser
from fewshot_bn.config import FewShotConfig
from fewshot_bn.host_memory import keep_freed_memory

DEVELOPMENT = ("gtsrb", "herlev_pap", "plankton", "trashnet", "digits")
TARGETS = ("eurosat", "cropdisease", "isic")
BACKBONES = ("mobilenet_v2_035", "resnet20")
PROBES = (
    "lr",
    "lr scaling=raw",
    "lr select=fixed C=100",
    "lr-c1",
    "ridge",
    "ridge scaling=raw",
    "lda",
    "proto",
    "proto scaling=centred_l2",
)
UNTUNED = ("start steps=0", "start steps=0 readout=lr+ridge")  # the probe, given the same views of the images
PUBLISHED = ("bn-all", "bn-cdfsl")  # bn23 exists for ResNets only
PLAIN = "bn-plain"
DRAWN = ("proto", "lr", "ridge", UNTUNED[-1], PLAIN, *PUBLISHED, "bn")  # accuracy against cost
RECIPES = (
    "start",
    "start lr_norm=0.5",
    "start lr_norm=2",
    "start steps=5",
    "start steps=20",
    "start readout=ridge",
    "start readout=lr+ridge",
    "start readout=head",
    "start lr_head=0.1",
    "start C=1",
    "start test_augment=none",
    "start augment=flip",
    "start affines=scale",
    "start statistics=batch",
    "start statistics=converted",
    "start units=absolute lr_norm=0.003",
    "start weight_decay=0.1",
    "start average_frozen=true",
    "start affines=scale average_frozen=true",
    "start affines=scale lr_norm=0.5",
    "start affines=scale readout=lr+ridge",
    "start affines=scale readout=lr+ridge steps=20",
    "start affines=scale readout=lr+ridge epochs=10 batch_size=13",
    "start affines=scale readout=lr+ridge augment=flip",
    "start affines=scale readout=lr+ridge augment=flip steps=20",
    "start affines=scale readout=lr+ridge average_frozen=true",
    "bn-plain",
    *UNTUNED,
)
FINALISTS = (
    "start affines=scale readout=lr+ridge",
    "start affines=scale readout=lr+ridge steps=20",
    "start affines=scale readout=lr+ridge steps=20 batch_size=25",
    "start affines=scale readout=lr+ridge epochs=10 batch_size=25",
    "start affines=scale readout=lr+ridge epochs=10 batch_size=13",
    UNTUNED[-1],
)
CANDIDATES = tuple(dict.fromkeys([*PROBES, "bn", *RECIPES, *FINALISTS, *PUBLISHED]))


class Cell(NamedTuple):
    """What all candidates are compared in, on the same episodes."""

    dataset: str
    backbone: str
    n_support: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Candidates on the episodes 0 to `n_episodes` of a seed, on some datasets with these shots.

    Its results lie in the subfolder `folder`, if that is given, and may then be compared with those of the other
    stages there.
    """

    name: str
    datasets: tuple[str, ...]
    seed: int
    shots: tuple[int, ...]
    n_episodes: int
    candidates: tuple[str, ...]
    folder: str = ""

    @property
    def place(self) -> str:
        return self.folder or self.name

    def cells(self) -> list[Cell]:
        return [Cell(d, b, k) for k in self.shots for b in BACKBONES for d in self.datasets]

    def experiments(self, args: argparse.Namespace) -> Iterator[FewShotConfig]:
        n_episodes = args.n_episodes or self.n_episodes
        episodes = {"n_support": self.shots, "seed": self.seed, "n_episodes": n_episodes}
        for subject in itertools.product(self.datasets, BACKBONES):
            yield experiment(args, subject, self.candidates, stage=self.place, **episodes)


SEARCH = Stage("search", DEVELOPMENT, 0, (1, 5), 8, (*PROBES, *RECIPES))
FINAL = Stage("final", DEVELOPMENT, 0, (20,), 6, (*PROBES, *FINALISTS))
CONFIRMATION = Stage("confirmation", DEVELOPMENT, 1, (1, 5, 20), 200, (*PROBES, "bn", *UNTUNED))
TARGET = Stage("targets", TARGETS, 0, (1, 5, 20), 200, (*PROBES, "bn", *UNTUNED))
PUBLISHED_TARGETS = (  # the first of the same episodes, as the published recipes take many times longer
    Stage("published, 1-shot", TARGETS, 0, (1,), 200, PUBLISHED, "targets"),
    Stage("published, 5-shot", TARGETS, 0, (5,), 12, PUBLISHED, "targets"),
    Stage("published, 20-shot", TARGETS, 0, (20,), 8, PUBLISHED, "targets"),
)
COST = tuple(Stage(f"cost {repetition}", ("gtsrb",), 0, (1, 5, 20), 2, DRAWN) for repetition in (1, 2, 3))
PARTS = {
    "search": (SEARCH, FINAL),
    "confirm": (CONFIRMATION,),
    "targets": (TARGET, *PUBLISHED_TARGETS),
    "cost": COST,
}


def run_part(doc: str | None, parts: Mapping[str, Sequence[Stage]], argv: Sequence[str] | None) -> int:
    """The command line of a study in parts, of which one is named."""
    options = parser(doc)
    options.add_argument("part", choices=[*parts])
    args = options.parse_args(argv)
    keep_freed_memory()
    carry_out((config for stage in parts[args.part] for config in stage.experiments(args)), args.output)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_part(__doc__, PARTS, argv)


if __name__ == "__main__":
    sys.exit(main())
