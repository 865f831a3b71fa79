"""Get a checkpoint: download what its card names, checked, to where its card is looked for. Quick to import."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewshot_bn.backbones.cards.card import ModelCard, known_cards
from fewshot_bn.errors import DataError, ModelError
from fewshot_bn.events import Progress
from fewshot_bn.files.downloads import download


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What is to be downloaded, as files/downloads.py asks for it."""

    url: str
    file: str
    algorithm: str
    checksum: str
    n_bytes: int = 0


def target_of(card: ModelCard, root: Path) -> Path:
    """Where its weights go: in a folder of its own if another card has another file of that name.

    Raises `ModelError` where that would not be below `root`.
    """
    is_shared = any(other.weights == card.weights and other.url != card.url for other in known_cards())
    target = root / card.name / card.weights if is_shared else root / card.weights
    if root.resolve() not in target.resolve().parents:
        raise ModelError(f"{card.name}: weights is {card.weights!r}; a file below {root} is needed to fetch it")
    return target


def fetch_weights(card: ModelCard, root: Path) -> Iterator[Progress]:
    """Download the weights of a card below `root` while iterated over. Raises `ModelError`; a second call goes on."""
    target = target_of(card, root)
    what = WeightsFile(card.url, target.name, *card.checksum)
    try:
        for done, total in download(what, target.parent):
            yield Progress(target.name, "B", done, total or None)
    except DataError as problem:
        get = card.get or (f"its source is {card.source}" if card.source else "")
        raise ModelError(f"{card.name}: {problem}{get and '; '}{get}") from problem


def by_hand(card: ModelCard, root: Path, check: str) -> Iterator[str]:
    """The steps for a person; `check` is the command that checks."""
    yield f"{card.title}; licence: {card.licence or 'not known'}"
    yield f"1. open {card.source or 'the page of its authors'}"
    yield f"2. {card.get or f'get the file {Path(card.weights).name}'}"
    yield f"3. put it at {target_of(card, root)}"
    yield f"4. check it: {check}"
    if card.note:
        yield f"note: {card.note}"
