"""The file of a card's weights: where it lies, and whether it is the one that the card pins. Quick to import."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from fewshot_bn.backbones.cards.card import ModelCard, shipped_models
from fewshot_bn.errors import ModelError
from fewshot_bn.files import paths
from fewshot_bn.files.atomic import hash_of

TITLES = {"md5": "MD5", "sha256": "SHA-256"}


def place_of(card: ModelCard, path: Path, root: Path | None) -> Path | None:
    """The file of the weights of the card at `path`: beside it, else under the root of models; None if nowhere."""
    if (path.parent / card.weights).is_file():
        return path.parent / card.weights
    root = root or paths.model_root()
    return next((place for place in (root / card.name / card.weights, root / card.weights) if place.is_file()), None)


def find_weights(card: ModelCard, path: Path, root: Path | None) -> Path:
    """The file of the weights of the card at `path`. Raises `ModelError` that says how to get it."""
    if found := place_of(card, path, root):
        return found
    if not card.weights:
        raise ModelError(f"{card.name}: its card names no file of weights; name one with --weights")
    get = f"fetch it: {_fetch_command(path, root)}" if card.url else card.get or f"get it from {card.source}"
    how = f"{get}, or " if card.url or card.get or card.source else "put it there, or "
    where = f"beside its card or in {root or paths.model_root()}"
    raise ModelError(f"{card.name}: no weights file {card.weights} {where}; {how}name it with --weights")


def _fetch_command(path: Path, root: Path | None) -> str:
    """What fetches the weights of the card at `path`."""
    name = path.stem if shipped_models().get(path.stem) == path else str(path)
    where = ["--model-root", str(root)] if root else []
    return shlex.join(["python", "-m", "fewshot_bn.models", "fetch", name, *where])


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a card pins, and what a file has; `needed` is "" where nothing is published."""

    algorithm: str
    found: str
    needed: str

    @property
    def agrees(self) -> bool:
        return bool(self.needed) and self.found.startswith(self.needed)

    def __str__(self) -> str:
        return f"has {self.algorithm} {self.found[:12]}…, the card pins {self.needed[:12]}…"


def checksum_of(card: ModelCard, file: Path) -> Checksum:
    """Compares `file` with the card; its SHA-256 where there is nothing to compare. Raises `OSError`."""
    algorithm, needed = card.checksum
    return Checksum(TITLES[algorithm], hash_of(file, algorithm).hexdigest(), needed)


def check_weights(card: ModelCard, file: Path, *, pinned: bool, strict: bool = False) -> tuple[str, ...]:
    """What is to be said of a weights file. Raises `ModelError` where it is absent or not the one that is pinned."""
    if not file.is_file():
        raise ModelError(f"{card.name}: no weights file {file}; name another with --weights")
    checksum = checksum_of(card, file)
    if not checksum.needed:
        return (f"{card.name}: its card has no checksum to compare {file} with, whose SHA-256 is {checksum.found}",)
    if checksum.agrees:
        return ()
    what = f"{card.name}: {file} {checksum}"
    if pinned:
        raise ModelError(f"{what}: damaged or changed; move it away and get it again")
    if strict:
        raise ModelError(f"{what}: these are other weights; --strict takes only exactly what the card says")
    return (f"{what}: these are other weights than the card's",)
