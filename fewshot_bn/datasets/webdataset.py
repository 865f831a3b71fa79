"""Tar files of images: those of WebDataset, whose samples have labels, and those of class folders.

Nothing is unpacked: an image is read from its place. One file, or shards such as `cars-train-000012.tar`. Names of
classes may be in `classes.txt` beside them, one a line.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.datasets.array_file import State
from fewshot_bn.datasets.card import Shards
from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.listed import number_or_text, read_text
from fewshot_bn.datasets.masks import mask_folder
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES, Row, assemble
from fewshot_bn.datasets.shards import Shard, incomplete, shards_of
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.datasets.tar_headers import Member
from fewshot_bn.datasets.tar_index import read_index
from fewshot_bn.datasets.tar_samples import Sample, has_labels, samples_of
from fewshot_bn.errors import DataError, some
from fewshot_bn.files.atomic import digest

SUFFIX = ".tar"
CUT_OFF = "of its tar files have no mark of the end, so they may be cut off; get them again"
CLASSES = ("classes.txt", "classnames.txt", "class_names.txt", "labels.txt")


@dataclass(frozen=True, slots=True)
class TarReader:
    """Reads the encoded image of a row from its place in a tar file."""

    paths: tuple[Path, ...]
    states: tuple[State, ...]
    shard: Int64[ndarray, "n"]
    offset: Int64[ndarray, "n"]
    n_bytes: Int64[ndarray, "n"]

    def __call__(self, row: int) -> bytes:
        shard = self.shard[row]
        path: Path = self.paths[shard]
        if _state(path) != self.states[shard]:
            raise DataError(f"{path}: was changed after it had been opened; run this again")
        with path.open("rb") as file:
            file.seek(int(self.offset[row]))
            return file.read(int(self.n_bytes[row]))


@dataclass(frozen=True, slots=True)
class Placed:
    """A sample with an image and a label, and the number of its shard."""

    shard: int
    sample: Sample
    image: Member
    split: int


def open_tar(place: Path, name: str = "", fields: Shards | None = None, classes: Sequence[str] = ()) -> Dataset:
    """The images of a tar file or of a folder of shards; `classes` are those of a card, and others are left out.

    Raises `DataError` for files that are damaged, and for samples that cannot be understood.
    """
    fields = fields or Shards()
    name = name or (place.stem if place.is_file() else place.resolve().name)
    shards = shards_of(place, SUFFIX, fields.files)
    states = tuple(_state(shard.path) for shard in shards)
    left_out: Counter[str] = Counter()
    placed = _placed(name, shards, fields, left_out)
    labels = {one.sample.label for one in placed}
    named = _names(name, shards[0].path.parent, sorted(labels, key=number_or_text))
    if classes:
        n_all, placed = len(placed), [one for one in placed if named[one.sample.label] in classes]
        left_out["of other classes than those of the card"] += n_all - len(placed)
    ids = _ids(name, shards, placed)
    rows = [
        Row(image_id, named[one.sample.label], one.sample.group, one.split, n_bytes=one.image.n_bytes)
        for image_id, one in zip(ids, placed, strict=True)
    ]
    notices = [*incomplete(name, shards), *_said(name, left_out)]
    dataset = assemble(name, place, classes or named.values(), rows, notices=notices)
    by_id = dict(zip(ids, placed, strict=True))
    there = [by_id[image_id] for image_id in dataset.ids]
    at = np.array([(one.shard, one.image.offset, one.image.n_bytes) for one in there], np.int64).T
    paths = tuple(shard.path.absolute() for shard in shards)
    return replace(
        dataset,
        read=TarReader(paths, states, *at),
        stamp=digest([dataset.fingerprint, *states]),
        places=np.argsort(np.lexsort((at[1], at[0]))),
    )


def _state(path: Path) -> State:
    try:
        state = path.stat()
    except OSError as problem:
        raise DataError(f"{path}: this tar file cannot be read: {problem.strerror}") from problem
    return State(state.st_ino, state.st_size, state.st_mtime_ns)


def _placed(name: str, shards: Sequence[Shard], fields: Shards, left_out: Counter[str]) -> list[Placed]:
    """The labelled images of all shards; counts what else there is."""
    samples: list[Placed] = []
    images: list[tuple[int, Member]] = []
    nested: list[str] = []
    is_labelled: bool | None = None
    for k, shard in enumerate(shards):
        contents = read_index(shard.path)
        left_out.update({f"that are no plain files ({kind})": n for kind, n in contents.others.items()})
        left_out[CUT_OFF] += not contents.has_end
        if contents.members and is_labelled is None:
            is_labelled = has_labels(contents.members, fields)
        if is_labelled:
            for sample in samples_of(shard.path, contents.members, fields):
                if sample.image and sample.label:
                    samples.append(Placed(k, sample, sample.image, shard.split))
                else:
                    left_out[f"without {'a label' if sample.image else 'an image'}"] += 1
        else:
            images += [(k, member) for member in contents.members if _is_image(member.name)]
        nested += [member.name for member in contents.members if member.name.lower().endswith(SUFFIX)]
    found = samples or list(_by_folder(shards, images, left_out))
    if nested and not found:
        raise DataError(f"{name}: holds tar files, such as {nested[0]}; unpack it (tar xf), and name their folder")
    if not found:
        counted = some([f"{n:,} {what}" for what, n in left_out.items() if n])
        raise DataError(
            f"{name}: no image has a label: beside x.jpg there should be x.cls or x.json, or images in class folders"
            f"{'; there are ' if counted else ''}{counted}"
        )
    return found


def _by_folder(
    shards: Sequence[Shard], images: Sequence[tuple[int, Member]], left_out: Counter[str]
) -> Iterator[Placed]:
    """The images of class folders, which may lie in folders that are called like splits; or each file is a class."""
    if len({shard.prefix for shard in shards}) == len(shards) > 1 and not any("/" in image.name for _, image in images):
        for k, member in images:
            yield Placed(k, Sample(member.name, shards[k].path.stem, "", member), member, -1)
        return
    folders = [posixpath.dirname(member.name) for _, member in images]
    common = posixpath.commonpath(folders) if all(folders) and folders else ""
    tails = [member.name.removeprefix(f"{common}/" if common else "") for _, member in images]
    first = {tail.partition("/")[0] for tail in tails if "/" in tail}
    has_splits = bool(first) and all(split_number(part) >= 0 for part in first)
    for (k, member), tail in zip(images, tails, strict=True):
        *parts, _ = tail.split("/")
        split = split_number(parts[0]) if has_splits and parts else shards[k].split
        class_name = next(iter(parts[has_splits:]), "")
        if masks := mask_folder(["/".join(parts[1 + has_splits :]) + "/x"], class_name):
            raise DataError(f"{shards[k].path}: {member.name!r} lies in a folder {masks!r}, so it is a mask, no image")
        if class_name:
            yield Placed(k, Sample(member.name, class_name, "", member), member, split)
        else:
            left_out["beside the class folders"] += 1


def _is_image(name: str) -> bool:
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden


def _names(name: str, folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """What each label is called: by a list of names beside the files, if labels are numbers; else as it is."""
    lists = [folder / file for file in CLASSES if (folder / file).is_file()]
    if not lists or not all(label.isascii() and label.isdigit() for label in labels):
        return {label: label for label in labels}
    names = [line.strip() for line in read_text(lists[0]).splitlines() if line.strip()]
    wrong = [label for label in labels if int(label) >= len(names)]
    if wrong or len(set(names)) < len(names):
        raise DataError(
            f"{name}: labels go up to {labels[-1]}, and {lists[0].name} has {len(names)} names, {len(set(names))} of "
            "which differ; a name for each class is needed"
        )
    return {label: names[int(label)] for label in labels}


def _ids(name: str, shards: Sequence[Shard], placed: Sequence[Placed]) -> list[str]:
    """The keys of the samples, behind their splits; with their shards, where keys begin anew in each."""
    ids = [f"{shards[one.shard].prefix}{one.sample.key}" for one in placed]
    if len(set(ids)) < len(ids):
        ids = [f"{shards[one.shard].prefix}{shards[one.shard].path.stem}/{one.sample.key}" for one in placed]
    if twice := sorted(image_id for image_id, n in Counter(ids).items() if n > 1):
        raise DataError(f"{name}: {some(twice)}: there more than once; each name may be there once in a tar file")
    return ids


def _said(name: str, left_out: Counter[str]) -> Iterator[Finding]:
    for what, n in left_out.items():
        if what == CUT_OFF and n:
            yield Finding(f"{name}: {n:,} {what}", is_wrong=True)
        elif n:
            yield Finding(f"{name}: {n:,} samples {what} were left out", is_wrong=what.startswith("without"))
