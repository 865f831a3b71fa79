"""The card of a checkpoint: `models/<name>.toml`, or a user's own file of the same form. Quick to import."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.errors import ModelError
from fewshot_bn.files import paths
from fewshot_bn.files.cards import read_card
from fewshot_bn.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class Published:
    """Accuracies that others report, by what they are of ("eurosat 5-shot"): mean, perhaps ± half width, in per cent.

    `protocol` says how they were measured and `source` where they stand.
    """

    source: str
    protocol: str
    accuracy: dict[str, str]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts of a checkpoint.

    `network` is a name of `networks.NETWORKS`, or `library:name` as in sources.py, called with `arguments`; `norm_eps`
    replaces the epsilon of its BatchNorm layers, `padding` of "same" pads as TensorFlow and JAX do, and `channels` of
    "BGR" says that the weights take images so (mean and std stay in the order R, G, B).

    `weights` is a file beside the card or under the root of models, `url` where it is fetched from, `get` how a person
    gets it. `sha256` and `md5` are its checksums, or their first 8 or more digits; both are empty where none is
    published. `keys` are the rules for its keys, `forms` those of other files that hold the same network.

    `features` is the number of features and `norms` that of norm layers of each kind: what is built has to agree.
    `expected` are accuracies measured with it here, by a description of the run. `assumed` is what the card takes for
    granted and nobody has confirmed; every run says it until that line is taken off.
    """

    name: str
    title: str
    network: str
    preprocessing: Preprocessing
    weights: str
    sha256: str = ""
    md5: str = ""
    url: str = ""
    get: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    norm_eps: float | None = None
    padding: Literal["", "same"] = ""
    channels: Literal["RGB", "BGR"] = "RGB"
    keys: KeyRules = field(default_factory=KeyRules)
    forms: dict[str, KeyRules] = field(default_factory=dict)
    features: int = 0
    norms: dict[str, int] = field(default_factory=dict)
    licence: str = ""
    source: str = ""
    citation: str = ""
    recipe: str = ""
    note: str = ""
    assumed: str = ""
    published: tuple[Published, ...] = ()
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def checksum(self) -> tuple[str, str]:
        """The algorithm, and the digits that are known: those of SHA-256, else of MD5, else none."""
        return ("md5", self.md5.lower()) if self.md5 and not self.sha256 else ("sha256", self.sha256.lower())

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ModelError("name is empty; results are called after it")
        for algorithm, most in (("sha256", 64), ("md5", 32)):
            digits = getattr(self, algorithm).lower()
            if digits and not (8 <= len(digits) <= most and set(digits) <= set("0123456789abcdef")):
                raise ModelError(
                    f"{self.name}: {algorithm} is {digits!r}; 8 to {most} digits 0-9a-f are needed, or none"
                )
        if self.url and not re.fullmatch(r"https?://[!-~]+", self.url):
            raise ModelError(f"{self.name}: url is {self.url!r}; one of http:// or https:// without spaces is needed")


def shipped_models() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.stem: path for path in sorted(paths.shipped("models").glob("*.toml"))}


def known_cards() -> Iterator[ModelCard]:
    """Those cards themselves."""
    return map(read_model_card, shipped_models().values())


def read_model_card(path: Path) -> ModelCard:
    """Raises `ModelError` for a file that is none."""
    return read_card(path, ModelCard, ModelError)
