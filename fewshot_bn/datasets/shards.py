"""Shards: files that are one dataset together, such as `train-00000-of-00003.parquet` or `cars-train-000012.tar`.

Which split a shard is of is in its name, or in that of its folder. Rows are numbered within their split, so how often
it was cut makes no difference.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fewshot_bn.datasets.dataset import Finding
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES, SPLIT_NAMES
from fewshot_bn.datasets.split_names import NAMES, split_number
from fewshot_bn.errors import DataError, some

NUMBERED = re.compile(r"(?P<name>.*?)(?:^|[-_. ])(?P<k>\d+)(?:-of-(?P<n>\d+)(?:-[0-9a-f]{8,})?)?")
DEPTH = 4  # of folders below the one that is named: snapshots/1a2b3c/data/train/0000.parquet
FEW = 4  # class folders that are looked into
LOOKED_AT = 64  # names in a folder, after which it is clear whether it holds images or shards


@dataclass(frozen=True, slots=True)
class Shard:
    """A file; `split` is the number of its split or -1, `prefix` begins the ids of its rows, `of` counts its siblings.

    `of` is 0 where the name does not say it.
    """

    path: Path
    split: int
    prefix: str
    of: int = 0


def shards_of(place: Path, suffix: str, patterns: Sequence[str] = ()) -> list[Shard]:
    """The shards in a folder, or the only one: a file. In their order, the splits one after the other.

    Raises `DataError` where there are none, or those of several datasets.
    """
    if place.is_file():
        place, paths = place.parent, [place]
    elif patterns:
        paths = sorted({path for pattern in patterns for path in place.glob(pattern) if path.is_file()})
    else:
        paths = sorted(_below(place, suffix, DEPTH))
    if not paths:
        raise DataError(f"{place}: there are no files {some(patterns) or f'*{suffix}'} in this folder")
    homes = sorted({_home(place, path) for path in paths})
    if len(homes) > 1:
        raise DataError(f"{place}: holds {suffix} files of several datasets, in {some(homes, 8)}; name one of these")
    called = {path: SPLIT_NAMES.get(_split(path), _name(path)) for path in paths}
    is_one = len(set(called.values())) == 1
    shards = []
    for path in paths:
        split, parts = _split(path), NUMBERED.fullmatch(path.stem)
        prefix = "" if split < 0 and is_one else f"{called[path]}/"
        shards.append(Shard(path, split, prefix, int(parts["n"] or 0) if parts else 0))
    return sorted(shards, key=lambda shard: (shard.split < 0, shard.split, shard.prefix, _place(shard.path)))


def incomplete(name: str, shards: Sequence[Shard]) -> Iterator[Finding]:
    """What to say of shards that are named as a part of more than there are."""
    for prefix in dict.fromkeys(shard.prefix for shard in shards):
        same = [shard for shard in shards if shard.prefix == prefix]
        if len(same) < (n := max(shard.of for shard in same)):
            files = some([shard.path.name for shard in same])
            yield Finding(f"{name}: {len(same)} of {n} files are there: {files}; get the others", is_wrong=True)


def kind_of_shards(folder: Path, suffixes: Sequence[str]) -> str:
    """The first of `suffixes` that files in a folder have; nothing without any, or if it holds class folders."""
    found = [name for name in _files(folder) if name.lower().endswith(tuple(suffixes))]
    if sum(map(_holds_images, _folders(folder)[:FEW])) > 1:
        return ""
    kinds = (suffix for suffix in suffixes if any(name.lower().endswith(suffix) for name in found))
    below = (suffix for suffix in suffixes if next(_below(folder, suffix, DEPTH), None))
    return next(kinds if found else below, "")


def _below(folder: Path, suffix: str, depth: int) -> Iterator[Path]:
    names = list(islice(_files(folder), None if depth == DEPTH else LOOKED_AT))
    if any(name.lower().endswith(suffix) for name in names):
        yield from (folder / name for name in _files(folder) if name.lower().endswith(suffix))
    elif depth and not any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        for inner in _folders(folder):
            yield from _below(inner, suffix, depth - 1)


def _files(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith(".") and _is_file(entry))
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be read: {problem.strerror}") from problem


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads in circles
        return False


def _folders(folder: Path) -> list[Path]:
    """The folders in it, but no links, which may lead in circles."""
    try:
        with os.scandir(folder) as entries:
            inside = [entry for entry in entries if not entry.name.startswith(".")]
            return sorted(folder / entry.name for entry in inside if entry.is_dir(follow_symlinks=False))
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be read: {problem.strerror}") from problem


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in islice(_files(folder), LOOKED_AT))


def _home(place: Path, path: Path) -> str:
    """The folder of a shard below `place`, without one that is called like a split."""
    parts = [part for part in path.parent.relative_to(place).parts if split_number(part) < 0]
    return "/".join(parts) or "."


def _name(path: Path) -> str:
    """What a file is called, without its number; what its folder is called, if it has only a number."""
    return _own_name(path) or path.parent.name


def _own_name(path: Path) -> str:
    parts = NUMBERED.fullmatch(path.stem)
    return parts["name"] if parts else path.stem


def _split(path: Path) -> int:
    """The split that a name says, as a whole or by one of its words; else that of the folder, as a whole."""
    name = _own_name(path)
    words = {NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in NAMES}
    if split_number(name) < 0 and len(words) == 1:
        return words.pop()
    return split_number(name) if split_number(name) >= 0 else split_number(path.parent.name)


def _place(path: Path) -> tuple[int, str]:
    """What shards are sorted by: their number, then all of their path."""
    parts = NUMBERED.fullmatch(path.stem)
    return (int(parts["k"]) if parts else -1), str(path)
