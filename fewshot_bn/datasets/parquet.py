"""Parquet files as the Hugging Face hub has them: a column of encoded images beside a column of labels.

The image is a struct {bytes, path} or plain binary; the label a whole number, whose names are in the metadata of the
schema (key `huggingface`), or a text. -1 is the hub's word for an image without a label. One file, or shards whose
names say their split. Needs pyarrow.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.card import Shards
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.listed import number_or_text
from fewshot_bn.datasets.parquet_columns import NONE, Columns, codes_of, columns_of
from fewshot_bn.datasets.parquet_file import MOST_ROWS, open_file, reading
from fewshot_bn.datasets.parquet_rows import RowReader, Source, beside, first_images, source_of
from fewshot_bn.datasets.shards import Shard, incomplete, shards_of
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import digest

SUFFIX = ".parquet"
SAMPLED = 16  # images of each split that are part of the fingerprint


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of all files, in their order: the number of the file, the place in it and in its split.

    Labels and groups are numbers: of the column, or of a text; -1 for none.
    """

    shard: Int64[ndarray, "n"]
    place: Int64[ndarray, "n"]
    in_split: Int64[ndarray, "n"]
    labels: Int64[ndarray, "n"]
    groups: Int64[ndarray, "n"]
    group_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The number of each row's class, which is above all for rows that are left out, and how many are not.

    `notices` say what was left out.
    """

    labels: Int64[ndarray, "n"]
    n: int
    names: tuple[str, ...]
    notices: tuple[Finding, ...]


def open_parquet(place: Path, name: str = "", fields: Shards | None = None, classes: Sequence[str] = ()) -> Dataset:
    """The images of a file or of a folder of shards; `classes` are those of a card, and others are left out.

    Raises `DataError` for files that cannot be read or differ, and columns that are not clear.
    """
    fields = fields or Shards()
    name = name or (place.stem if place.is_file() else place.resolve().name)
    shards = shards_of(place, SUFFIX, fields.files)
    columns = [columns_of(shard.path, fields) for shard in shards]
    for one, other in zip(shards, columns, strict=True):
        if other != columns[0]:
            raise DataError(f"{one.path}: its columns or classes are not those of {shards[0].path.name}")
    sources = [_source(one.path, columns[0].image) for one in shards]
    if sum(source.n_rows for source in sources) > MOST_ROWS:
        raise DataError(f"{name}: has more than {MOST_ROWS:,} rows; name fewer files")
    texts: dict[str, int] = {}
    rows = _rows(shards, columns[0], texts)
    chosen = _chosen(name, rows, _names(name, columns[0], rows.labels, list(texts)), classes)
    prefixes = [one.prefix for one in shards]
    rank = np.unique(prefixes, return_inverse=True)[1][rows.shard]  # as ids are sorted
    order = np.lexsort((rows.in_split, rank, chosen.labels))[: chosen.n]
    labels, shard = chosen.labels[order], rows.shard[order]
    ids = tuple(f"{prefixes[k]}{i:07d}" for k, i in zip(shard.tolist(), rows.in_split[order].tolist(), strict=True))
    splits = np.array([one.split for one in shards], np.int64)[shard]
    sample = _sample(name, shards, sources, columns[0].image)
    fingerprint = digest(chain(chosen.names, [labels.astype("<i8").tobytes()], ids, sample))
    states = [(source.state.n_bytes, source.state.modified_ns) for source in sources]
    return Dataset(
        name=name,
        class_names=chosen.names,
        labels=labels,
        ids=ids,
        read=RowReader(tuple(sources), columns[0].image, shard, rows.place[order]),
        fingerprint=fingerprint,
        stamp=digest([fingerprint, *states]),
        notices=(*incomplete(name, shards), *chosen.notices),
        splits=splits if (splits >= 0).any() else None,
        groups=_groups(rows, order, ids) if columns[0].group else None,
        places=order,
    )


def _source(path: Path, column: str) -> Source:
    file = open_file(path)
    with reading(path):
        return source_of(path, file.metadata, column)


def _rows(shards: Sequence[Shard], columns: Columns, texts: dict[str, int]) -> Rows:
    group_texts: dict[str, int] = {}
    labels, groups, starts = [], [], []
    seen: Counter[str] = Counter()
    for shard in shards:
        labels.append(codes_of(shard.path, columns.label, texts, is_text=columns.text[0]))
        if columns.group:
            groups.append(codes_of(shard.path, columns.group, group_texts, is_text=columns.text[1]))
        starts.append(seen[shard.prefix])
        seen[shard.prefix] += len(labels[-1])
    sizes = [len(part) for part in labels]
    place = np.concatenate([np.arange(n) for n in sizes])
    return Rows(
        np.repeat(np.arange(len(sizes)), sizes),
        place,
        place + np.repeat(starts, sizes),
        np.concatenate(labels),
        np.concatenate(groups) if groups else np.full(len(place), NONE),
        tuple(group_texts),
    )


def _names(name: str, columns: Columns, codes: Int64[ndarray, "n"], texts: Sequence[str]) -> dict[int, str]:
    """The name of each label that is there, in the order of the classes."""
    there = [code for code in np.unique(codes).tolist() if code != NONE]
    if columns.text[0]:
        return {code: texts[code] for code in sorted(there, key=lambda code: number_or_text(texts[code]))}
    if not columns.names:
        return {code: str(code) for code in there}
    if there and there[-1] >= len(columns.names):
        raise DataError(
            f"{name}: {columns.label} holds labels up to {there[-1]}, but its metadata names {len(columns.names)} "
            "classes; correct one of them"
        )
    return {code: columns.names[code] for code in there}


def _chosen(name: str, rows: Rows, names: dict[int, str], classes: Sequence[str]) -> Chosen:
    """Those of a class, which is one of `classes` if there are any."""
    n_unlabelled = int((rows.labels == NONE).sum())
    wanted = {code: text for code, text in names.items() if not classes or text in classes}
    if classes:
        wanted = dict(sorted(wanted.items(), key=lambda item: classes.index(item[1])))
    if len(wanted) < 2:
        without = f"; {n_unlabelled:,} of {len(rows.labels):,} rows have no label" if n_unlabelled else ""
        raise DataError(f"{name}: {len(wanted)} classes found, at least 2 are needed{without}")
    codes = np.sort(np.array(list(wanted), np.int64))
    label_of = np.array([list(wanted).index(code) for code in codes.tolist()])
    at = np.searchsorted(codes, rows.labels).clip(max=len(codes) - 1)
    labels = np.where(codes[at] == rows.labels, label_of[at], len(wanted))
    notices = []
    if n_unlabelled:
        notices.append(Finding(f"{name}: {n_unlabelled:,} rows without a label (-1 or nothing) were left out"))
    if others := [text for code, text in names.items() if code not in wanted]:
        notices.append(Finding(f"{name}: classes that are not on the card were left out: {some(others)}"))
    return Chosen(labels, int((labels < len(wanted)).sum()), tuple(wanted.values()), tuple(notices))


def _groups(rows: Rows, order: Int64[ndarray, "m"], ids: Sequence[str]) -> tuple[str, ...]:
    names, codes = rows.group_names, rows.groups[order].tolist()
    return tuple(
        f"({image})" if code == NONE else names[code] if names else str(code)
        for code, image in zip(codes, ids, strict=True)
    )


def _sample(name: str, shards: Sequence[Shard], sources: Sequence[Source], column: str) -> Iterator[bytes]:
    """The first images of each split, however it is cut. Raises `DataError` where none of them is in the files."""
    found: list[tuple[bytes | None, str]] = []
    for prefix in dict.fromkeys(shard.prefix for shard in shards):
        same = [source for shard, source in zip(shards, sources, strict=True) if shard.prefix == prefix]
        images = chain.from_iterable(first_images(source, column, SAMPLED) for source in same)
        found += islice(images, SAMPLED)
    if found and all(encoded is None for encoded, _ in found):
        try:
            beside(sources[0].path, found[0][1])
        except (OSError, ValueError) as problem:
            raise DataError(f"{name}: the first images are not in its files: {problem}") from problem
    return (encoded or path.encode("utf-8", "surrogateescape") for encoded, path in found)
