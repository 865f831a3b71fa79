"""Images that are the same byte for byte, and such copies on both sides of a split.

Of files, only those are read of which another one has the same size: first their ends, which hold what differs even in
images of one camera, then the whole of those whose ends are the same. Images in arrays and archives are all read. What
was found is kept, by the stamp of the dataset.
"""

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.looks import Scaled
from fewshot_bn.datasets.rows import FileReader
from fewshot_bn.datasets.splits import Split
from fewshot_bn.errors import some
from fewshot_bn.files.atomic import digest, make_folder, plain_name, replace_file
from fewshot_bn.raster import unreadable

Sets = list[tuple[int, ...]]

END = 4096  # bytes
MOST_BYTES = 2**32  # of arrays and archives: half a minute
WAITING, PART = 8, 100  # files that are opened at once; files of one task, for which a thread is worth it
SAMPLED = 16  # images whose sizes stand for those of all
VERSION = 1


def sets_of_copies(dataset: Dataset, cache: Path | None = None) -> Sets | None:
    """The rows of images that are the same, in order, for each image that there is more than once.

    They are kept in `cache`, if there is one. Images that cannot be read are no copies. None for arrays and archives of
    so many bytes that it would take long.
    """
    place = (
        cache / "copies" / f"{plain_name(dataset.name)}_{digest([VERSION, dataset.stamp])[:16]}.json" if cache else None
    )
    found = _kept(place, len(dataset)) if place else None
    if found is None:
        found = _found(dataset)
        if place and found is not None:
            with contextlib.suppress(OSError):  # a full disk is no reason to stop
                make_folder(place.parent)
                replace_file(place, json.dumps(found).encode())
    return found


def _kept(place: Path, n: int) -> Sets | None:
    """None for a file that is absent or damaged."""
    try:
        sets = [tuple(map(int, rows)) for rows in json.loads(place.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None
    return sets if all(len(rows) > 1 and min(rows) >= 0 and max(rows) < n for rows in sets) else None


def _found(dataset: Dataset) -> Sets | None:
    reader = dataset.read.read if isinstance(dataset.read, Scaled) else dataset.read
    if isinstance(reader, FileReader):
        return _among_files([reader.folder / path for path in reader.paths])
    rows = dataset.in_reading_order(np.arange(len(dataset))).tolist()
    if _n_bytes(reader, rows) > MOST_BYTES:
        return None
    return _alike({row: _digest(reader, row) for row in rows})


def _among_files(files: Sequence[Path]) -> Sets:
    sets: Sets = [tuple(range(len(files)))]
    with ThreadPoolExecutor(WAITING) as pool:  # for disks in a network
        for property_of in (_size, _end, _whole):
            rows = list(chain.from_iterable(sets))
            parts = [[files[row] for row in rows[k : k + PART]] for k in range(0, len(rows), PART)]
            values = chain.from_iterable(pool.map(partial(_each, property_of), parts))
            found = dict(zip(rows, values, strict=True))
            sets = [same for rows in sets for same in _alike({row: found[row] for row in rows})]
    return sorted(sets)


def _each(property_of: Callable[[Path], Hashable], files: Sequence[Path]) -> list[Hashable]:
    return [property_of(file) for file in files]


def _alike(property_of: Mapping[int, Hashable]) -> Sets:
    """The rows by their property, but for those that have none (None), or are alone with it."""
    rows_of = defaultdict(list)
    for row, value in property_of.items():
        if value is not None:
            rows_of[value].append(row)
    return sorted(tuple(sorted(same)) for same in rows_of.values() if len(same) > 1)


def _size(file: Path) -> int | None:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return None


def _end(file: Path) -> bytes | None:
    with contextlib.suppress(OSError), file.open("rb", buffering=0) as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - END))
        return hashlib.blake2b(opened.read(END), digest_size=16).digest()
    return None


def _whole(file: Path) -> bytes | None:
    with contextlib.suppress(OSError), file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").digest()
    return None


def _digest(read: Callable[[int], bytes], row: int) -> bytes | None:
    with contextlib.suppress(*unreadable()):
        return hashlib.blake2b(read(row), digest_size=16).digest()
    return None


def _n_bytes(read: Callable[[int], bytes], rows: Sequence[int]) -> float:
    """Of all images, by the sizes of some."""
    sizes = [0]
    for row in rows[:: 1 + len(rows) // SAMPLED]:
        with contextlib.suppress(*unreadable()):
            sizes.append(len(read(row)))
    return len(rows) * sum(sizes) / max(1, len(sizes) - 1)


def findings(dataset: Dataset, split: Split, sets: Sets) -> list[Finding]:
    """That test images are among those that are learnt from, or validation images among the training images."""
    part_of = dict.fromkeys(split.train.tolist(), "train")
    part_of |= dict.fromkeys(split.val.tolist(), "val") | dict.fromkeys(split.test.tolist(), "test")
    taken = [[row for row in rows if row in part_of] for rows in sets]
    shared = [rows for rows in taken if len({part_of[row] for row in rows}) > 1]
    if not shared:
        return []
    rows = list(chain.from_iterable(shared))
    n_test = sum(part_of[row] == "test" for row in rows)
    in_training = [rows for rows in shared if any(part_of[row] == "train" for row in rows)]
    n_val = sum(part_of[row] == "val" for row in chain.from_iterable(in_training))
    parts = [
        f"{n_test:,} of {len(split.test):,} test images are also among the training and validation images",
        f"{n_val:,} of {len(split.val):,} validation images among the training images",
    ]
    cases = tuple(_case(dataset, rows, part_of) for rows in shared)
    said = ", and ".join(part for n, part in zip((n_test, n_val), parts, strict=True) if n)
    text = f"{dataset.name}: {said}, byte for byte: {some(cases)}; scores on these say nothing of new images"
    return [Finding(text, cases, is_wrong=True)]


def _case(dataset: Dataset, rows: Sequence[int], part_of: Mapping[int, str]) -> str:
    """One image of each part, and how many more are the same."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(part_of[row], row)
    shown = " = ".join(f"{dataset.ids[row]} ({part})" for part, row in first.items())
    return shown + (f" and {len(rows) - len(first):,} more" if len(rows) > len(first) else "")
