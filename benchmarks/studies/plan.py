"""What the recipe study tries, on which cells and in which stages. Candidates are named as in cells.py."""

from dataclasses import dataclass

from benchmarks.studies.cells import Cell, adapter_of

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


@dataclass(frozen=True, slots=True)
class Stage:
    """Episodes 0 to `n_episodes` of a seed, on some datasets with these shots."""

    name: str
    datasets: tuple[str, ...]
    seed: int
    shots: tuple[int, ...]
    n_episodes: int

    def cells(self) -> list[Cell]:
        return [Cell(d, b, k) for k in self.shots for b in BACKBONES for d in self.datasets]


SEARCH = Stage("search", DEVELOPMENT, 0, (1, 5), 8)
FINAL = Stage("final", DEVELOPMENT, 0, (20,), 6)
CONFIRMATION = Stage("confirmation", DEVELOPMENT, 1, (1, 5, 20), 200)
TARGET = Stage("targets", TARGETS, 0, (1, 5, 20), 200)
PUBLISHED_TARGETS = (  # the first of the same episodes, as the published recipes take many times longer
    Stage("published, 1-shot", TARGETS, 0, (1,), 200),
    Stage("published, 5-shot", TARGETS, 0, (5,), 12),
    Stage("published, 20-shot", TARGETS, 0, (20,), 8),
)


def candidates() -> list[str]:
    """Everything that is tried anywhere; what the default of `bn` is, by that name."""
    default = adapter_of("bn")
    tried = dict.fromkeys([*RECIPES, *FINALISTS])
    return [*PROBES, "bn", *(name for name in tried if adapter_of(name) != default), *PUBLISHED]
