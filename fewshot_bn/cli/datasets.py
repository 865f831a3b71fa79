"""The verbs of data.py that are about datasets: list, fetch, verify, prepare. Each returns its exit status."""

import shlex
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fewshot_bn.cli.console import Console
from fewshot_bn.datasets import (
    Dataset,
    DatasetCard,
    card_of,
    catalogue,
    find_place,
    forms_of,
    open_dataset,
    read_dataset_card,
    shipped_cards,
)
from fewshot_bn.datasets.fetching import archives, by_hand, fetch_all, is_begun
from fewshot_bn.datasets.looks import findings as findings_of_looks
from fewshot_bn.datasets.verification import Examined, Report, examine, report
from fewshot_bn.errors import DataError, UsageError, unknown
from fewshot_bn.events import Progress
from fewshot_bn.files import paths
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, with_geometry
from fewshot_bn.reports import columns

WRONG = 1
LICENCE_WIDTH = 30


def list_all(arguments: Namespace) -> int:
    if arguments.markdown:
        print(catalogue.markdown())
        return 0
    root = _root(arguments)
    rows = [("name", "classes", "images", "licence", f"under {root}")]
    for card, what in catalogue.found(root):
        licence = card.licence if len(card.licence) <= LICENCE_WIDTH else card.licence[: LICENCE_WIDTH - 1] + "…"
        rows.append((card.name, str(card.n_classes), catalogue.count(card.n_images), licence, what))
    print(columns(rows))
    if not root.is_dir():
        print(f"\nnote: there is no folder {root}; name another with --data-root or FEWSHOT_BN_DATA")
    print("\nget one: python -m fewshot_bn.data fetch NAME; files of your own need no name, give their path instead")
    return 0


def fetch(arguments: Namespace) -> int:
    card, root = carded(arguments.dataset), _root(arguments)
    if card.layout == "digits":
        print(f"{card.name}: {card.get}")
        return 0
    check = f"python -m fewshot_bn.data verify {shlex.quote(arguments.dataset)} --data-root {shlex.quote(str(root))}"
    if _lacks(arguments, card, root):
        if not card.downloads:
            _, *others = forms_of(_path_of(arguments.dataset)).values()
            steps = by_hand(card, root, check, others)
            print("\n".join([f"{card.name} cannot be fetched without you. By hand:", *steps]))
            return 2
        console = Console(quiet=arguments.quiet)
        with console.shown():
            for step in fetch_all(card, root):
                console.draw(step)
    dataset, place = open_named(arguments), find_place(_path_of(arguments.dataset), root).folder
    print(f"{card.name}: {len(dataset):,} images of {len(dataset.class_names)} classes are in {place}")
    for note in _notes(dataset, card, root):
        print(f"note: {note}")
    print(f"check every image: {check}")
    return 0


def _lacks(arguments: Namespace, card: DatasetCard, root: Path) -> bool:
    """Whether there is nothing usable, or a part of the dataset that an earlier fetch has left."""
    try:
        find_place(_path_of(arguments.dataset), root)
    except DataError:
        return True
    try:
        dataset = open_named(arguments, faulty=True)
    except DataError:
        if card.downloads:
            return True
        raise
    return is_begun(card, root) and (bool(dataset.problems) or _is_part(dataset))


def _is_part(dataset: Dataset) -> bool:
    return dataset.n_on_card is not None and len(dataset) < dataset.n_on_card


def _notes(dataset: Dataset, card: DatasetCard, root: Path) -> Iterator[str]:
    yield from map(str, dataset.notices)
    if card.downloads and _is_part(dataset):
        yield "to fetch all of it, move what is there away first"
    if files := archives(card, root):
        size = sum(path.stat().st_size for path in files) / 1e6
        yield f"{', '.join(map(str, files))} ({size:,.1f} MB) may be deleted"


def verify(arguments: Namespace) -> int:
    dataset = open_named(arguments, faulty=True)
    path = card_of(arguments.dataset)
    card = read_dataset_card(path) if path else None
    console = Console(quiet=arguments.quiet)
    with console.shown():
        examined = _examined(dataset, console)
    found = report(dataset, card, examined)
    _print_sizes(dataset, card)
    _print_report(found)
    return WRONG if found.wrong else 0


def _examined(dataset: Dataset, console: Console) -> list[Examined]:
    examined: list[Examined] = []
    try:
        for few in examine(dataset):
            examined += few
            console.draw(Progress("verified images", "image", len(examined), len(dataset)))
    except KeyboardInterrupt:
        done = f"stopped: {len(examined):,} of {len(dataset):,} images were read"
        raise KeyboardInterrupt(f"{done}; the same command begins anew") from None
    return examined


def _print_sizes(dataset: Dataset, card: DatasetCard | None) -> None:
    kind = (card.group if card else "") or "group"
    groups = f", {len(set(dataset.groups)):,} {kind}s" if dataset.groups else ""
    print(f"{dataset.name}: {len(dataset):,} images, {len(dataset.class_names)} classes{groups}")
    on_card = card.classes if card else {}
    sizes = {**dict.fromkeys(on_card, 0), **dict(zip(dataset.class_names, dataset.class_sizes, strict=True))}
    rows = [(f"  {_printable(k)}", f"{n:,}", f"of {on_card[k]:,}" if k in on_card else "") for k, n in sizes.items()]
    print(columns(rows))


def _print_report(found: Report) -> None:
    for kind, findings in (("note", found.notes), ("wrong", found.wrong)):
        for finding in findings:
            more = [
                f"  {_printable(case)}" for case in finding.cases if case not in finding.text
            ]  # others are named already
            print("\n".join([f"{kind}: {_printable(str(finding))}", *more]))
    things = "1 thing is" if len(found.wrong) == 1 else f"{len(found.wrong)} things are"
    print(f"{things} wrong" if found.wrong else "nothing is wrong")


def _printable(text: str) -> str:
    r"""One line, whatever names of files hold: `\n` for the end of a line, `\udcff` for a byte that is no text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def prepare(arguments: Namespace) -> int:
    dataset = open_named(arguments)
    console = Console(quiet=arguments.quiet)
    for notice in dataset.notices:
        console.note(notice)
    for geometry in _geometries(arguments, dataset):
        _prepare(Store(dataset, geometry, paths.store_root()), dataset, console)
    return 0


def _prepare(store: Store, dataset: Dataset, console: Console) -> None:
    for notice in store.notices:
        console.note(notice)
    began = time.perf_counter()
    with console.shown():
        n_decoded = _fill(store, dataset, console)
    for finding in findings_of_looks(dataset, store.looks):
        console.note(finding)
    rate = n_decoded / (time.perf_counter() - began)
    now = f"{n_decoded:,} decoded now, {rate:,.0f} per second" if n_decoded else "none had to be decoded"
    size = len(dataset) * store.row_bytes / 1e6
    print(f"{dataset.name}: all {len(dataset):,} images are in {store.path} ({size:,.1f} MB; {now})")


def _fill(store: Store, dataset: Dataset, console: Console) -> int:
    """How many images had to be decoded, which may be fewer than were missing: another run may be at it."""
    n_decoded = 0
    rows = store.missing(np.arange(len(dataset)))
    try:
        for n_images in store.fill(rows):
            n_decoded += n_images
            n_there = len(dataset) - len(rows) + n_decoded
            console.draw(Progress("decoded images", "image", n_there, len(dataset)))
    except KeyboardInterrupt:
        kept = f"stopped: {store.n_filled:,} of {len(dataset):,} images are in {store.path}"
        raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None
    return n_decoded


def open_named(arguments: Namespace, *, faulty: bool = False) -> Dataset:
    return open_dataset(arguments.dataset, root=arguments.data_root, faulty=faulty)


def carded(name: str) -> DatasetCard:
    """The card of this name or path. Raises `UsageError` where there is none."""
    return read_dataset_card(_path_of(name))


def _path_of(name: str) -> Path:
    path = card_of(name)
    if path is not None:
        return path
    if Path(name).exists():
        raise UsageError(f"{name}: is no card; the name of a known dataset or a card (.toml) is needed")
    raise UsageError(f"{unknown('dataset', name, shipped_cards())}; list shows all; or give the path of a card (.toml)")


def _root(arguments: Namespace) -> Path:
    root: Path = arguments.data_root or paths.data_root()
    return root


def _geometries(arguments: Namespace, dataset: Dataset) -> list[Preprocessing]:
    """That of the preset, else those of the backbone and its members, whose weights need not be there."""
    own = [Preprocessing()] if arguments.preset else list(_own_preprocessing(arguments))
    asked = [with_geometry(one, arguments.preset, arguments.image_px, dataset.first_resize_px) for one in own]
    return list({one.geometry: one for one in asked}.values())


def _own_preprocessing(arguments: Namespace) -> Iterator[Preprocessing]:
    from fewshot_bn.backbones.libraries.sources import split_weights
    from fewshot_bn.backbones.load import load_backbone, member_names

    for member in member_names(arguments.model):
        name, weights = split_weights(member, None)
        asked = arguments.preprocessing or (member if weights else None)  # other weights may ask for other images
        yield load_backbone(name, weights="random", preprocessing=asked).preprocessing
