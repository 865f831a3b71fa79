"""What the recipe study tries, on which cells and in which stages. Candidates are named as in cells.py."""

from dataclasses import dataclass

from cells import Cell, adapter_of

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
    "start affines=scale readout=lr+ridge augment=flip",
    "start affines=scale readout=lr+ridge augment=flip steps=20",
    "start affines=scale readout=lr+ridge average_frozen=true",
    "bn-plain",
    *UNTUNED,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Episodes 0 to `n_episodes` of a seed, on some datasets with these shots; the `keep` best recipes go on."""

    name: str
    datasets: tuple[str, ...]
    seed: int
    shots: tuple[int, ...]
    n_episodes: int
    keep: int

    def cells(self, n_support: int | None = None) -> list[Cell]:
        """All of them, or those with so many shots."""
        shots = self.shots if n_support is None else [n_support]
        return [Cell(d, b, k) for k in shots for b in BACKBONES for d in self.datasets]


HALVING = (Stage("first", DEVELOPMENT, 0, (1, 5), 8, 5), Stage("second", DEVELOPMENT, 0, (1, 5, 20), 16, 2))
CONFIRMATION = Stage("confirmation", DEVELOPMENT, 1, (1, 5, 20), 200, 1)
TARGET = Stage("targets", TARGETS, 0, (1, 5, 20), 200, 1)


def candidates() -> list[str]:
    """Everything that is tried anywhere; what the default of `bn` is, by that name."""
    default = adapter_of("bn")
    return [*PROBES, "bn", *(name for name in RECIPES if adapter_of(name) != default), *PUBLISHED]
