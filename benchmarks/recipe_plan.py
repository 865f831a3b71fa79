"""What the recipe study tries, on which cells and in which stages. Candidates are named as in cells.py."""

from dataclasses import dataclass

from cells import Cell

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
UNTUNED = ("bn steps=0", "bn steps=0 readout=ridge")  # the probe, given the same views of the images
PUBLISHED = ("bn-all", "bn-cdfsl")  # bn23 exists for ResNets only
RECIPES = (
    "bn",
    "bn lr_norm=0.5",
    "bn lr_norm=2",
    "bn steps=5",
    "bn steps=20",
    "bn readout=ridge",
    "bn readout=lr+ridge",
    "bn readout=head",
    "bn lr_head=0.1",
    "bn C=1",
    "bn test_augment=none",
    "bn augment=flip",
    "bn affines=scale",
    "bn statistics=batch",
    "bn statistics=converted",
    "bn units=absolute lr_norm=0.003",
    "bn weight_decay=0.1",
    "bn average_frozen=true",
    "bn affines=scale average_frozen=true",
    "bn affines=scale lr_norm=0.5",
    "bn affines=scale readout=lr+ridge",
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
    """Everything that is tried anywhere."""
    return [*PROBES, *RECIPES, *PUBLISHED]
