"""The samples of a tar file of WebDataset: files whose names are the same up to the first dot, an image and its label.

The label is the text of `.cls`, or a field of `.json`. A tar file of class folders has no labels: its folders are.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fewshot_bn.datasets.card import Shards
from fewshot_bn.datasets.listed import LONGEST
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES
from fewshot_bn.datasets.tar_headers import Member
from fewshot_bn.errors import DataError, some

TEXTS = ("cls", "label", "class")  # endings of files that hold a label
FIELDS = ("label", "cls", "class", "class_name", "label_name")
JSON = "json"
MOST_BYTES = 2**20  # of a JSON file
NONE = "-1"


@dataclass(frozen=True, slots=True)
class Sample:
    """An image, as it is called without its ending; `label` and `group` are empty if there is none."""

    key: str
    label: str
    group: str
    image: Member | None


def has_labels(members: Sequence[Member], fields: Shards) -> bool:
    """Whether there is an image with a label beside it: this is WebDataset, and no tar file of class folders."""
    endings = {*TEXTS, JSON, *([fields.label] if fields.label else [])}
    with_label = {key for key, ending, _ in _named(members) if ending in endings}
    return any(key in with_label for key, ending, _ in _named(members) if _is_image(ending))


def samples_of(path: Path, members: Sequence[Member], fields: Shards) -> Iterator[Sample]:
    """Raises `DataError` for what is there twice, and where it is not clear which file is the image or the label."""
    files: dict[str, dict[str, Member]] = defaultdict(dict)
    for key, ending, member in _named(members):
        if ending in files[key]:
            raise DataError(f"{path}: {member.name!r} is there twice; each name may be there once")
        files[key][ending] = member
    with path.open("rb") as file:
        for key, endings in files.items():
            image = _image(path, key, endings, fields.image)
            if image or not endings.keys().isdisjoint((*TEXTS, JSON)):
                told = _told(_Contents(path, file), endings)
                label = _label(_Contents(path, file), endings, fields.label) or _field(told, fields.label)
                yield Sample(key, "" if label == NONE else label, _plain(told.get(fields.group)), image)


@dataclass(frozen=True, slots=True)
class _Contents:
    """Reads small members of an open tar file."""

    path: Path
    file: BinaryIO

    def __call__(self, member: Member, most: int) -> str:
        if member.n_bytes > most:
            raise DataError(f"{self.path}: {member.name!r} has {member.n_bytes:,} bytes, at most {most:,} are read")
        self.file.seek(member.offset)
        try:
            return self.file.read(member.n_bytes).decode("utf-8-sig").strip()
        except UnicodeDecodeError as problem:
            raise DataError(f"{self.path}: {member.name!r} is no text in UTF-8") from problem


def _named(members: Sequence[Member]) -> Iterator[tuple[str, str, Member]]:
    """The key and the ending of each file that is not hidden."""
    for member in members:
        folder, slash, name = member.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        if dot and stem:
            yield f"{folder}{slash}{stem}", ending.lower(), member


def _is_image(ending: str) -> bool:
    return f".{ending}".endswith(IMAGE_SUFFIXES)


def _image(path: Path, key: str, endings: Mapping[str, Member], wanted: str) -> Member | None:
    if wanted:
        return endings.get(wanted.lower())
    images = [ending for ending in endings if _is_image(ending)]
    if len(images) > 1:
        images = [ending for ending in images if "." not in ending]
        if len(images) != 1:
            raise DataError(
                f"{path}: the sample {key!r} has several images, with the endings "
                f"{some([ending for ending in endings if _is_image(ending)])}; name one of these on a card of layout "
                f'webdataset with [webdataset] image = "…"'
            )
    return endings[images[0]] if images else None


def _told(contents: _Contents, endings: Mapping[str, Member]) -> Mapping[str, object]:
    """What the JSON of a sample says."""
    if JSON not in endings:
        return {}
    try:
        told = json.loads(contents(endings[JSON], MOST_BYTES))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{contents.path}: {endings[JSON].name!r} is no JSON: {problem}") from problem
    return told if isinstance(told, dict) else dict.fromkeys(FIELDS[:1], told)


def _label(contents: _Contents, endings: Mapping[str, Member], wanted: str) -> str:
    """The text of the file that is the label, if there is one."""
    names = [wanted.lower()] if wanted else TEXTS
    return next((contents(endings[name], LONGEST) for name in names if name in endings), "")


def _field(told: Mapping[str, object], wanted: str) -> str:
    return next((_plain(told[name]) for name in ([wanted] if wanted else FIELDS) if name in told), "")


def _plain(value: object) -> str:
    """A name, or a whole number, as text; nothing for anything else."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value)[:LONGEST].strip() if isinstance(value, str) or is_whole else ""
