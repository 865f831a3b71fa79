"""What one run of the command is asked for, with the only defaults. Quick to import: `--help` needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DEFAULT_MODEL = "fractal_resnet8"


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `python -m fewshot_bn.eval`. `settings` are those of each mode, as text.

    No modes are those of the regime: bn for episodes, lr for many-shot.
    """

    dataset: str = "digits"
    data_root: Path | None = None
    model: str = DEFAULT_MODEL
    weights: str | None = None
    preset: str | None = None
    image_px: int | None = None
    n_way: int = 5
    n_support: tuple[int, ...] = (5,)
    n_query: int = 15
    n_episodes: int | None = None
    seed: int = 0
    episodes: str = "random"
    by_group: bool = False
    modes: tuple[str, ...] = ()
    baseline: str | None = "lr"
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    device: str = "auto"
    chunk: int | None = None
    shard: str | None = None
    output: Path = Path("results")
    keep_features: bool = True
    keep_pixels: bool = True
    strict: bool = False
    regime: Literal["few-shot", "many-shot"] = "few-shot"
    quiet: bool = False
