"""The card of a checkpoint: `models/<name>.toml`, or a user's own file of the same form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot_bn.backbones.checkpoints import KeyRules
from fewshot_bn.files import paths
from fewshot_bn.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The card of a checkpoint: `models/<name>.toml`. `weights` is a file beside the card, pinned by `sha256`.

    `network` is a name of `networks.NETWORKS` or `torchvision:<name>`, called with `arguments`; `norm_eps` replaces
    the epsilon of its BatchNorm layers. `expected` are accuracies measured with it, by a description of the run.
    """

    name: str
    title: str
    network: str
    preprocessing: Preprocessing
    weights: str
    sha256: str
    arguments: dict[str, Any] = field(default_factory=dict)
    norm_eps: float | None = None
    keys: KeyRules = field(default_factory=KeyRules)
    licence: str = ""
    source: str = ""
    recipe: str = ""
    expected: dict[str, str] = field(default_factory=dict)


def shipped_models() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.stem: path for path in sorted(paths.shipped("models").glob("*.toml"))}
