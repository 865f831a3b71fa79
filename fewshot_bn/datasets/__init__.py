"""Datasets: a name on a card, a user's own card, or any folder with one subfolder per class, opened as a `Dataset`."""

from dataclasses import replace
from pathlib import Path

from fewshot_bn import paths
from fewshot_bn.datasets.card import DatasetCard, read_dataset_card, shipped_cards
from fewshot_bn.datasets.dataset import Dataset, digest
from fewshot_bn.datasets.digits import open_digits
from fewshot_bn.datasets.folder import open_carded_folder, open_folder
from fewshot_bn.errors import DataError, UsageError, unknown

__all__ = ["Dataset", "DatasetCard", "open_dataset", "read_dataset_card", "shipped_cards"]


def open_dataset(name: str, *, root: Path | None = None, strict: bool = False) -> Dataset:
    """Open the dataset `name`: a shipped card, a path to a card, or a path to an image folder.

    `root` is the data root that holds the trees of carded datasets. With `strict`, anything that a notice would be
    given for is a `DataError`. An unknown name is a `UsageError` that lists what is known.
    """
    dataset = _open(name, paths.data_root() if root is None else root)
    if strict and dataset.notices:
        raise DataError(f"{dataset.notices[0]}; --strict takes only exactly what the card says")
    return dataset


def _open(name: str, root: Path) -> Dataset:
    cards = shipped_cards()
    path = Path(name)
    if name in cards:
        return _open_card(cards[name], root)
    if path.suffix == ".toml" and path.is_file():
        return _open_card(path, root)
    if path.is_dir():
        return open_folder(path)
    if len(path.parts) > 1:
        raise DataError(f"{name}: there is no image folder or card (.toml) of this name")
    raise UsageError(f"{unknown('dataset', name, cards)}, or give the path of an image folder or of a card (.toml)")


def _open_card(path: Path, root: Path) -> Dataset:
    card = read_dataset_card(path)
    dataset = open_digits(card) if card.layout == "digits" else open_carded_folder(card, root)
    return replace(dataset, card=digest([path.read_bytes()]), n_on_card=card.n_images, metric=card.metric)
