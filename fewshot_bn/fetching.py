"""Get a dataset: download what its card names, checked, and unpack it where its reader looks for it."""

from collections.abc import Iterator
from pathlib import Path

from fewshot_bn.archives import unpack
from fewshot_bn.console import progress
from fewshot_bn.datasets import DatasetCard
from fewshot_bn.downloads import Download, check_free, download

UNPACKED = 2.2  # times the size of the archives is needed with their contents


def by_hand(card: DatasetCard, root: Path) -> Iterator[str]:
    """The steps for a person."""
    yield f"{card.title}; licence: {card.licence}"
    yield f"1. open {card.source}"
    yield f"2. {card.get}"
    yield f"3. the result: {card.tree} below {root}"
    yield f"4. check it: python -m fewshot_bn.data verify {card.name} --data-root {root}"


def fetch_all(card: DatasetCard, root: Path, *, quiet: bool) -> None:
    """Download and unpack all files of a card below the data root `root`. Raises `DataError`; a second call goes on."""
    check_free(root, int(UNPACKED * sum(what.n_bytes for what in card.downloads)))
    for what in card.downloads:
        folder = root / (what.folder or "downloads")
        _download(what, folder, quiet=quiet)
        if what.unpack:
            _unpack(folder / what.file, root / what.unpack, quiet=quiet)


def _download(what: Download, folder: Path, *, quiet: bool) -> None:
    with progress(what.file, "B", what.n_bytes or None, quiet=quiet, scaled=True) as bar:
        for done, total in download(what, folder):
            bar.total = total or None
            bar.update(done - bar.n)


def _unpack(archive: Path, folder: Path, *, quiet: bool) -> None:
    with progress(f"unpacking {archive.name}", "B", None, quiet=quiet, scaled=True) as bar:
        for done in unpack(archive, folder):
            bar.update(done - bar.n)
