"""All checkpoints that have a card, as the table that `list` prints and docs/checkpoints.md holds. Quick to import."""

from collections.abc import Iterator
from pathlib import Path

from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.cards.weights import place_of
from fewshot_bn.files.markdown import table

HEADER = ("`--model`", "what it is", "network", "features", "norm layers", "licence", "how to get it")


def markdown() -> str:
    """The table of docs/checkpoints.md."""
    return table([HEADER, *(_row(read_model_card(path), path) for path in shipped_models().values())])


def found(root: Path) -> Iterator[tuple[ModelCard, str]]:
    """Each card, and where its weights are: beside the card or under `root`."""
    for path in shipped_models().values():
        card = read_model_card(path)
        yield card, _found(card, path, root)


def norms_of(card: ModelCard) -> str:
    """As in `53 batch`."""
    return ", ".join(f"{n} {kind}" for kind, n in card.norms.items()) or "?"


def features_of(card: ModelCard) -> str:
    return f"{card.features:,}" if card.features else "?"


def _found(card: ModelCard, path: Path, root: Path) -> str:
    place = place_of(card, path, root)
    if place is None:
        return "nothing; fetch gets it" if card.url else "nothing; fetch says how to get it"
    return "embedded" if place.parent == path.parent else f"{place.stat().st_size / 1e6:,.1f} MB: {place}"


def _row(card: ModelCard, path: Path) -> tuple[str, ...]:
    get = "embedded" if (path.parent / card.weights).is_file() else "`fetch`" if card.url else "by hand"
    title = f"[{card.title}]({card.source})" if card.source.startswith("http") else card.title
    return f"`{card.name}`", title, f"`{card.network}`", features_of(card), norms_of(card), card.licence or "?", get
