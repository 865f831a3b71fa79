"""Which columns of a Parquet file are the image, the label and the group, and what its classes are called.

A column is found by what the hub says of it in the metadata of the schema, by its type, and by its name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.card import Shards
from fewshot_bn.datasets.listed import LONGEST
from fewshot_bn.datasets.parquet_file import open_file, reading
from fewshot_bn.errors import DataError, some

IMAGES = ("image", "img", "images", "picture", "photo")
LABELS = ("label", "labels", "class", "category", "target", "y", "cls")
GROUP = "group"
NONE = -1  # the hub's word for an image without a label
BATCH = 2**16


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns; whether labels and groups are texts; and names of classes by number, where they are known."""

    image: str
    label: str
    group: str
    names: tuple[str, ...]
    text: tuple[bool, bool]


def columns_of(path: Path, fields: Shards) -> Columns:
    """Raises `DataError` that lists the columns where it is not clear which is meant."""
    file = open_file(path)
    with reading(path):
        schema, features = file.schema_arrow, _features(file.schema_arrow)
        kinds = {field.name: _kind(field.type) for field in schema}
        types = {field.name: str(field.type) for field in schema}
    told = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    with_bytes = [name for name, kind in kinds.items() if kind == "image" or (kind == "text" and types[name] in BINARY)]
    by_hub = [name for name in with_bytes if told.get(name) == "Image"]
    structs = [name for name in with_bytes if kinds[name] == "image"]
    image = fields.image or _one(by_hub or structs or with_bytes, IMAGES)
    labels = [name for name in kinds if told.get(name) == "ClassLabel"] or [
        name for name in kinds if name.lower() in LABELS
    ]
    label = fields.label or _one([name for name in labels if name != image], LABELS[:1])
    wanted = {"image": (image, with_bytes), "label": (label, [name for name in kinds if kinds[name] in LABEL_KINDS])}
    for what, (name, usable) in wanted.items():
        if name not in usable:
            found = some([f"{name!r} ({types[name]})" for name in types], 12) or "none"
            why = f"column {name!r} is no {what}" if name else f"it is not clear which column is the {what}"
            raise DataError(
                f"{path}: {why}; its columns are {found}; write a card of layout parquet with [parquet] "
                f'{what} = "…" (encoded bytes or a struct of them for images, whole numbers or texts for labels)'
            )
    group = fields.group or (GROUP if kinds.get(GROUP) in LABEL_KINDS and GROUP not in (image, label) else "")
    if group and kinds.get(group) not in LABEL_KINDS:
        raise DataError(f"{path}: has no column {group!r} of whole numbers or texts for groups")
    text = (kinds[label] == "text", kinds.get(group) == "text")
    return Columns(image, label, group, _names(path, features.get(label)), text)


BINARY = ("binary", "large_binary", "binary_view")
TEXT = ("string", "large_string", "string_view")
LABEL_KINDS = ("text", "number")


def _features(schema: Any) -> Mapping[str, Any]:
    """What the hub says of each column; nothing where it says nothing that can be read."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(path: Path, feature: object) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None:
        return ()
    texts = isinstance(names, list) and all(isinstance(name, str) and 0 < len(name) <= LONGEST for name in names)
    if not texts or len(set(names)) < len(names):
        raise DataError(f"{path}: the names of classes in its metadata are no texts that differ; correct the metadata")
    return tuple(names)


def _one(names: list[str], preferred: tuple[str, ...]) -> str:
    """The only one, or the only one that is called so; nothing if it is not clear."""
    called = [name for name in names if name.lower() in preferred]
    return names[0] if len(names) == 1 else called[0] if len(called) == 1 else ""


def _kind(kind: Any) -> str:
    """`image` for a struct of bytes, `text` for texts and bytes, `number` for whole numbers; else nothing."""
    from pyarrow import types

    if types.is_struct(kind):
        return "image" if any(field.name == "bytes" and str(field.type) in BINARY for field in kind) else ""
    if types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind) in (*BINARY, *TEXT):
        return "text"
    return "number" if types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind) else ""


def codes_of(path: Path, column: str, texts: dict[str, int], *, is_text: bool) -> Int64[ndarray, "n"]:
    """The numbers of a column, -1 for none; for texts their numbers in `texts`, which grows."""
    file = open_file(path, column if is_text else "")
    with reading(path):
        parts = [
            _coded(batch.column(0), texts) if is_text else _numbers(batch.column(0), column)
            for batch in file.iter_batches(BATCH, columns=[column], use_threads=False)
        ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _numbers(values: Any, column: str) -> Int64[ndarray, "n"]:
    """Whole numbers; so are floats that are whole, which pandas makes of them where some are missing."""
    from pyarrow import types

    if types.is_boolean(values.type):
        values = values.cast("int8")
    if types.is_floating(values.type):
        floats = values.cast("float64").fill_null(float("nan")).to_numpy()
        floats = np.where(np.isnan(floats), NONE, floats)
        if (np.abs(floats) > 2**53).any() or (floats != np.floor(floats)).any():
            raise ValueError(f"{column} holds numbers that are not whole; whole numbers or texts are needed as labels")
        numbers = floats.astype(np.int64)
    else:
        numbers = values.cast("int64").fill_null(NONE).to_numpy()
    if (numbers < NONE).any():
        raise ValueError(f"{column} holds {numbers.min()}; whole numbers from 0, or -1 for none, are needed")
    return numbers


def _coded(values: Any, texts: dict[str, int]) -> Int64[ndarray, "n"]:
    import pyarrow as pa

    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    known = [_text(value) for value in _entries(values.dictionary)]
    codes = np.array([NONE, *(texts.setdefault(text, len(texts)) if text else NONE for text in known)], np.int64)
    places = values.indices.fill_null(NONE).to_numpy(zero_copy_only=False)
    coded: Int64[ndarray, "n"] = codes[places.astype(np.int64) + 1]
    return coded


def _entries(dictionary: Any) -> Iterator[str | bytes | None]:
    import pyarrow.compute as pc

    longest = pc.max(pc.binary_length(dictionary)).as_py() or 0
    if longest > 4 * LONGEST:
        raise ValueError(f"a label or group has {longest:,} bytes; names of at most {LONGEST:,} characters are needed")
    yield from dictionary.to_pylist()


def _text(value: str | bytes | None) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value or ""
