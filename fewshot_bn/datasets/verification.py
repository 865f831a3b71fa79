"""Is a dataset what it should be? Every image is read whole, and everything that is wrong is in one report."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from fewshot_bn.datasets import Dataset, DatasetCard, Finding, copies, differences
from fewshot_bn.datasets.looks import findings
from fewshot_bn.datasets.rows import SPLIT_NAMES
from fewshot_bn.datasets.splits import Split
from fewshot_bn.raster import Look, decoded, look_at, reason_of, unreadable
from fewshot_bn.workers import map_rows


@dataclass(frozen=True, slots=True)
class Examined:
    """The digest of an image's file, why it cannot be read (nothing where it can), and how it looks."""

    row: int
    sha256: str
    reason: str
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong with a dataset, and what else a person should know of it."""

    wrong: tuple[Finding, ...]
    notes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """Reads rows with `read` and decodes them."""

    read: Callable[[int], bytes]

    def __call__(self, rows: list[int]) -> list[Examined]:
        return [self._examined(row) for row in rows]

    def _examined(self, row: int) -> Examined:
        sha256 = reason = ""
        look = None
        try:
            encoded = self.read(row)
            sha256 = hashlib.sha256(encoded).hexdigest()
            if encoded:
                look = look_at(decoded(encoded))
            else:
                reason = "empty (0 bytes)"
        except unreadable() as problem:
            reason = reason_of(problem)
        return Examined(row, sha256, reason, look)


def examine(dataset: Dataset, *, n_workers: int | None = None) -> Iterator[list[Examined]]:
    """Read every image; yields what was found, a few at a time, in any order."""
    rows = dataset.in_reading_order(np.arange(len(dataset)))
    for _, examined in map_rows(Examination(dataset.read), rows, n_workers, in_memory=dataset.in_memory):
        yield examined


def report(dataset: Dataset, card: DatasetCard | None, examined: Iterable[Examined]) -> Report:
    """All that `examine` and the opening of the dataset have found.

    A group with images of several classes is wrong, unless the card says that groups span classes, or all do, as those
    of domains do.
    """
    off_card = tuple(differences(card, dataset)) if card else ()
    by_row = sorted(examined, key=attrgetter("row"))
    wrong = [*dataset.problems, *off_card, *(notice for notice in dataset.notices if notice.is_wrong)]
    notes = [notice for notice in dataset.notices if notice not in wrong]
    bad = [f"{dataset.ids[one.row]}: {one.reason}" for one in by_row if one.reason]
    wrong += _finding(bad, "image cannot be read", "images cannot be read")
    same, sets = "the same byte for byte", _copies(by_row)
    cases = [" = ".join(_with_class(dataset, row) for row in rows) for rows in sets]
    wrong += _finding(cases, f"set of images is {same}", f"sets of images are {same}")
    if dataset.splits is not None:
        train, val, test = (np.flatnonzero(dataset.splits == number) for number in SPLIT_NAMES)
        wrong += copies.findings(dataset, Split(train, val, test, official=True), sets)
    group, several = (card.group if card else "") or "group", "images of several classes"
    spanning = _straddling(dataset)
    where = notes if (card and card.groups_span_classes) or len(spanning) == len(set(dataset.groups or ())) else wrong
    where += _finding(spanning, f"{group} has {several}", f"{group}s have {several}")
    notes += findings(dataset, {one.row: one.look for one in by_row if one.look})
    return Report(tuple(wrong), tuple(notes))


def _finding(cases: Sequence[str], one: str, several: str) -> list[Finding]:
    """A finding where there are cases; `one` and `several` follow their number in its title."""
    return [Finding(f"{len(cases):,} {one if len(cases) == 1 else several}", tuple(cases))] if cases else []


def _copies(examined: Iterable[Examined]) -> list[tuple[int, ...]]:
    rows_of = defaultdict(list)
    for one in examined:
        if not one.reason:
            rows_of[one.sha256].append(one.row)
    return [tuple(rows) for rows in rows_of.values() if len(rows) > 1]


def _with_class(dataset: Dataset, row: int) -> str:
    return f"{dataset.ids[row]} ({dataset.class_names[dataset.labels[row]]})"


def _straddling(dataset: Dataset) -> list[str]:
    classes_of: dict[str, set[int]] = defaultdict(set)
    for group, label in zip(dataset.groups or (), dataset.labels.tolist(), strict=False):
        classes_of[group].add(label)
    return [
        f"{group}: {', '.join(dataset.class_names[k] for k in sorted(labels))}"
        for group, labels in sorted(classes_of.items())
        if len(labels) > 1
    ]
