"""All datasets that have a card, as the table that `list` prints and docs/data.md holds."""

from collections.abc import Iterator
from pathlib import Path

from fewshot_bn.datasets import DatasetCard, find_place, open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.errors import DataError
from fewshot_bn.files.markdown import table

HEADER = ("`--dataset`", "what it is", "classes", "images", "licence", "how to get it")


def cards() -> list[DatasetCard]:
    return [read_dataset_card(path) for path in shipped_cards().values()]


def markdown() -> str:
    """The table of docs/data.md."""
    return table([HEADER, *map(_row, cards())])


def found(root: Path) -> Iterator[tuple[DatasetCard, str]]:
    """Each card, and what of it is under the data root `root`."""
    for card in cards():
        yield card, _found(card, root)


def _found(card: DatasetCard, root: Path) -> str:
    try:
        place = "embedded" if card.layout == "digits" else str(find_place(shipped_cards()[card.name], root).folder)
    except DataError:
        return "nothing; fetch gets it" if card.downloads else "nothing; fetch says how to get it"
    try:
        dataset = open_dataset(card.name, root=root, faulty=True)
    except DataError:
        return f"damaged, verify says how: {place}"
    of = f"of {card.n_images:,} " if card.n_images not in (0, len(dataset)) else ""
    faults = ", not in order, verify says why" if dataset.problems else ""
    return f"{len(dataset):,} {of}images{faults}: {place}"


def count(n: int) -> str:
    return f"{n:,}" if n else "?"


def _row(card: DatasetCard) -> tuple[str, ...]:
    get = "embedded" if card.layout == "digits" else "`fetch`" if card.downloads else "by hand"
    title = f"[{card.title}]({card.source})"
    return f"`{card.name}`", title, str(card.n_classes), count(card.n_images), card.licence, get
