"""Get a dataset: download what its card names, checked, and unpack it where its reader looks for it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot_bn.datasets import DatasetCard, find_tree
from fewshot_bn.errors import DataError
from fewshot_bn.events import Progress
from fewshot_bn.files.archives import unpack
from fewshot_bn.files.atomic import check_free, locked, plain_name
from fewshot_bn.files.downloads import Download, download, part_of

CONTENTS = 1.2  # times the size of an archive is what it holds


def by_hand(card: DatasetCard, root: Path, check: str, others: Sequence[DatasetCard] = ()) -> Iterator[str]:
    """The steps for a person; `check` is the command that verifies, `others` are of other forms of the same data."""
    yield f"{card.title}; licence: {card.licence}"
    yield f"1. open {card.source}"
    yield f"2. {card.get}"
    yield f"3. below {root} there should be {card.tree or ' or '.join(card.folders)}"
    for other in others:
        yield f"   or, of the form of others: {other.get} There should be {other.tree}"
    yield f"4. check it: {check}"
    if card.note:
        yield f"note: {card.note}"


def is_begun(card: DatasetCard, root: Path) -> bool:
    """Whether an earlier `fetch_all` has left something."""
    return any(path.exists() or part_of(path).exists() for path in _paths(card, root))


def archives(card: DatasetCard, root: Path) -> list[Path]:
    """The archives that are there; nobody needs them once they are unpacked."""
    paths = zip(card.downloads, _paths(card, root), strict=True)
    return [path for what, path in paths if what.unpack and path.is_file()]


def fetch_all(card: DatasetCard, root: Path) -> Iterator[Progress]:
    """Download and unpack all files of a card below the data root `root` while iterated over.

    One run at a time fetches a dataset; others wait for it. Raises `DataError`; a second call goes on.
    """
    check_free(root, sum(map(_n_bytes_needed, card.downloads, _paths(card, root))))
    with _locked(card, root):
        for what, path in zip(card.downloads, _paths(card, root), strict=True):
            for done, total in download(what, path.parent):
                yield Progress(what.file, "B", done, total or None)
            if what.unpack:
                for done in unpack(path, root / what.unpack):
                    yield Progress(f"unpacking {path.name}", "B", done, None)
    try:
        find_tree(card, root)
    except DataError as problem:
        raise DataError(
            f"{card.name}: all its files are in {root} now, but there is no {card.tree or 'tree'} in "
            f"{' or '.join(card.folders)}; on the card, unpack or folder of a download do not fit folders and classes"
        ) from problem


@contextlib.contextmanager
def _locked(card: DatasetCard, root: Path) -> Iterator[None]:
    lock = root / f".fetch-{plain_name(card.name)}.lock"
    turn = locked(lock, f"another run is fetching {card.name}; waiting for it")
    with contextlib.ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            held.enter_context(turn)
        except OSError as problem:
            raise DataError(f"{root}: cannot be written: {problem.strerror}; choose another --data-root") from problem
        yield


def _paths(card: DatasetCard, root: Path) -> list[Path]:
    return [root / (what.folder or "downloads") / what.file for what in card.downloads]


def _n_bytes_needed(what: Download, path: Path) -> int:
    n_there = max(file.stat().st_size if file.is_file() else 0 for file in (path, part_of(path)))
    return max(0, what.n_bytes - n_there) + (int(CONTENTS * what.n_bytes) if what.unpack else 0)
