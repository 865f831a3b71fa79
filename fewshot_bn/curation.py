"""The verbs of data.py that are about datasets: list, fetch, verify, prepare. Each returns its exit status."""

import time
from argparse import Namespace
from pathlib import Path

import numpy as np

from fewshot_bn import catalogue, paths
from fewshot_bn.console import progress, speaker
from fewshot_bn.datasets import Dataset, DatasetCard, card_of, find_tree, open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.errors import DataError, unknown
from fewshot_bn.fetching import by_hand, fetch_all
from fewshot_bn.pixels import Preprocessing, with_geometry
from fewshot_bn.store import Store
from fewshot_bn.verification import examine, report

WRONG = 1


def list_all(arguments: Namespace) -> int:
    if arguments.markdown:
        print(catalogue.markdown())
        return 0
    root = _root(arguments)
    rows = [("name", "classes", "images", "licence", f"under {root}")]
    for card, what in catalogue.found(root):
        rows.append((card.name, str(card.n_classes), catalogue.count(card.n_images), card.licence, what))
    print(catalogue.columns(rows))
    return 0


def fetch(arguments: Namespace) -> int:
    card, root = carded(arguments.dataset), _root(arguments)
    if card.layout == "digits":
        print(f"{card.name}: {card.get}")
        return 0
    try:
        place = find_tree(card, root)
    except DataError:
        place = None
    if place is not None:
        print(
            f"{card.name} is there: {place}. To see whether it is whole: python -m fewshot_bn.data verify {card.name}"
        )
        return 0
    if not card.downloads:
        print("\n".join([f"{card.name} cannot be fetched without you. By hand:", *by_hand(card, root)]))
        return 2
    fetch_all(card, root, quiet=arguments.quiet)
    dataset = open_dataset(card.name, root=root, faulty=True)
    print(f"{card.name}: {len(dataset):,} images of {len(dataset.class_names)} classes in {find_tree(card, root)}")
    for text in (*dataset.problems, *dataset.notices):
        print(f"note: {text}")
    return 0


def verify(arguments: Namespace) -> int:
    dataset = open_named(arguments, faulty=True)
    path = card_of(arguments.dataset)
    examined = []
    with progress("verified images", "image", len(dataset), quiet=arguments.quiet) as bar:
        for few in examine(dataset):
            examined += few
            bar.update(len(few))
    found = report(dataset, read_dataset_card(path) if path else None, examined)
    groups = f", {len(set(dataset.groups)):,} groups" if dataset.groups else ""
    print(f"{dataset.name}: {len(dataset):,} images, {len(dataset.class_names)} classes{groups}")
    sizes = zip(dataset.class_names, dataset.class_sizes, strict=True)
    print(catalogue.columns([(f"  {name}", f"{size:,}") for name, size in sizes]))
    for kind, findings in (("note", found.notes), ("wrong", found.wrong)):
        for finding in findings:
            print("\n".join([f"{kind}: {finding.title}", *(f"  {case}" for case in finding.cases)]))
    print("nothing is wrong" if not found.wrong else f"{len(found.wrong)} kinds of things are wrong")
    return WRONG if found.wrong else 0


def prepare(arguments: Namespace) -> int:
    dataset = open_named(arguments)
    say = speaker(quiet=arguments.quiet)
    for notice in dataset.notices:
        say(f"note: {notice}")
    store = Store(dataset, _geometry(arguments, dataset), paths.cache_root() / "stores")
    for path in store.outdated:
        say(f"note: {path} was made of other files than those of today and is not used; delete it to free its space")
    rows, began = store.missing(np.arange(len(dataset))), time.perf_counter()
    with progress("decoded images", "image", len(dataset), store.n_filled, quiet=arguments.quiet) as bar:
        for n_images in store.fill(rows):
            bar.update(n_images)
    seconds = time.perf_counter() - began
    rate = f"; {len(rows):,} decoded now, {len(rows) / seconds:,.0f} per second" if len(rows) else ""
    size = len(dataset) * store.row_bytes / 2**30
    print(f"{dataset.name}: all {len(dataset):,} images are in {store.path} ({size:.2f} GiB{rate})")
    return 0


def open_named(arguments: Namespace, *, faulty: bool = False) -> Dataset:
    return open_dataset(arguments.dataset, root=arguments.data_root, faulty=faulty)


def carded(name: str) -> DatasetCard:
    """The card of this name. Raises `UsageError` where there is none."""
    path = card_of(name)
    if path is None:
        raise unknown("dataset", name, shipped_cards())
    return read_dataset_card(path)


def _root(arguments: Namespace) -> Path:
    root: Path = arguments.data_root or paths.data_root()
    return root


def _geometry(arguments: Namespace, dataset: Dataset) -> Preprocessing:
    """That of the preset, else that of the backbone."""
    own = Preprocessing()
    if not arguments.preset:
        import torch

        from fewshot_bn.backbones import load_backbone

        own = load_backbone(arguments.model, device=torch.device("cpu")).preprocessing
    return with_geometry(own, arguments.preset, arguments.image_px, dataset.first_resize_px)
