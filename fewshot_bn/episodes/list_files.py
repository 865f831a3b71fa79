"""Files of episode lists: read, written, and the frozen ones that ship with the package.

JSON lines: a header (format, dataset, classes with their numbers of images, shape, how the episodes were drawn, and
whether images are ids or ranks), then one line for each episode. CSV: one line for each image, with the columns of
`COLUMNS` and ids only, for spreadsheets and other people's code.
"""

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.episodes.episode import NO_ROW, Episodes
from fewshot_bn.episodes.lists import ROLES, EpisodeList, Image, ListedEpisode
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.files import paths
from fewshot_bn.files.atomic import read_file, replace_file

FORMAT = "fewshot_bn episodes 1"
COLUMNS = ("episode", "way", "class", "role", "place", "file")
MOST_BYTES = 2**28
MOST_SHOWN = 200  # characters of what is wrong
FROZEN = "5way_50shot_15query_seed0.jsonl"


def frozen_list(name: str) -> EpisodeList:
    """The list of a dataset that ships with the package. Raises `UsageError` where it has none."""
    path = paths.shipped("episodes") / name / FROZEN
    if not path.is_file():
        having = ", ".join(sorted(path.parent.name for path in paths.shipped("episodes").glob(f"*/{FROZEN}")))
        raise UsageError(f"{name} has no frozen list of episodes; these have: {having}")
    return read_list(path)


def read_list(path: Path) -> EpisodeList:
    """Read a list. Raises `DataError` where it is not a whole one."""
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as problem:
        raise DataError(f"{path}: this list cannot be read: {problem.strerror}") from problem
    try:
        text = _text(content)
        header, listed = _from_csv(text) if path.suffix.lower() == ".csv" else _from_json_lines(text)
        ranks = header.get("images") == "rank"
        result = EpisodeList(
            path, hashlib.sha256(content).hexdigest(), tuple(listed), header, header["classes"] if ranks else {}
        )
        if header and header["n_episodes"] != len(listed):
            raise ValueError(f"{len(listed)} of {header['n_episodes']} episodes are there")  # noqa: TRY301
        _ = result.shape
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, csv.Error, UsageError) as problem:
        why = " ".join(str(problem).split())[:MOST_SHOWN]
        raise DataError(f"{path}: not a list of episodes, or a damaged one: {why}") from problem
    except RecursionError as problem:
        raise DataError(f"{path}: not a list of episodes: its brackets are nested too deep") from problem
    return result


def write_list(
    path: Path, episodes: Episodes, classes: Mapping[str, int], *, ids: Sequence[str] | None, drawn: Mapping[str, Any]
) -> None:
    """Write episodes of a dataset whose classes have so many images; by rank where no `ids` are given.

    `drawn` says how they were drawn and from what. The suffix .csv makes a table, any other JSON lines. Raises
    `DataError` where the file cannot be written.
    """
    if path.is_dir():
        raise DataError(f"{path}: this list cannot be written: it is a folder; name a file in it")
    image = _namer(list(classes.values()), ids)
    listed = [_listed(episodes[e : e + 1], list(classes), image) for e in range(len(episodes))]
    if path.suffix.lower() == ".csv":
        if ids is None:
            raise UsageError(f"{path}: a table names files; ranks go into JSON lines (.jsonl)")
        if "varies" in _shape(episodes):
            raise UsageError(
                f"{path}: in a table, episodes that differ in their numbers of images could not be told from a table "
                "that was cut short; name a file .jsonl"
            )
        text = _as_csv(listed)
    else:
        header = {"format": FORMAT, **drawn, "images": "rank" if ids is None else "id", **_shape(episodes)}
        header |= {"n_episodes": len(episodes), "classes": dict(classes)}
        text = "".join(_line(line) for line in [header, *map(_as_json, listed)])
    content = text.encode("utf-8", "surrogateescape")
    if len(content) > MOST_BYTES:
        size = f"{len(content):,} bytes, at most {MOST_BYTES:,} are read"
        raise UsageError(f"{path}: would have {size}; draw fewer episodes")
    try:
        replace_file(path, content)
    except OSError as problem:
        raise DataError(f"{path}: this list cannot be written: {problem.strerror}") from problem


def _shape(episodes: Episodes) -> dict[str, Any]:
    """What the header says of their numbers of images."""
    if not episodes.is_uniform:
        return {"varies": True}
    shape = {"n_way": episodes.classes.shape[1], "n_support": episodes.support.shape[2]}
    return {**shape, "n_query": episodes.query.shape[2]}


def _text(content: bytes) -> str:
    """Spreadsheets save text in UTF-8 or UTF-16, with a mark in front; names of files may be of any bytes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _namer(class_sizes: Sequence[int], ids: Sequence[str] | None) -> Callable[[int], Image]:
    """What a row is called in the file."""
    if ids is not None:
        return lambda row: ids[row]
    ranks = np.concatenate([np.arange(size) for size in class_sizes]).tolist()
    return lambda row: ranks[row]


def _listed(episode: Episodes, class_names: Sequence[str], image: Callable[[int], Image]) -> ListedEpisode:
    def named(rows: Int64[ndarray, "1 way n"]) -> tuple[tuple[Image, ...], ...]:
        return tuple(tuple(image(row) for row in of_class if row != NO_ROW) for of_class in rows[0].tolist())

    classes = tuple(class_names[k] for k in episode.classes[0])
    return ListedEpisode(classes, named(episode.support), named(episode.query))


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def _as_json(episode: ListedEpisode) -> dict[str, Any]:
    return {"classes": episode.classes, "support": episode.support, "query": episode.query}


def _from_json_lines(text: str) -> tuple[dict[str, Any], list[ListedEpisode]]:
    try:
        header, *lines = map(json.loads, text.splitlines())
    except json.JSONDecodeError as problem:
        raise ValueError(f"it is not JSON lines ({problem.msg}); a table needs the suffix .csv") from problem
    if type(header) is not dict or "format" not in header:
        raise ValueError(f"its first line is no header that names the format {FORMAT!r}")
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}, this version reads {FORMAT!r}")
    if not all(type(name) is str and type(n) is int for name, n in header["classes"].items()):
        raise ValueError("its classes are not names with numbers of images")
    kind = int if header["images"] == "rank" else str
    listed = [
        ListedEpisode(tuple(line["classes"]), *(tuple(map(tuple, line[role])) for role in ROLES)) for line in lines
    ]
    if not all(type(name) is str for episode in listed for name in episode.classes):
        raise ValueError("the classes of its episodes are not all names")
    if not all(type(image) is kind for episode in listed for role in ROLES for _, image in episode.images(role)):
        raise ValueError(f"its images are not all of the kind that its header says: {header['images']}")
    return header, listed


def _as_csv(listed: Sequence[ListedEpisode]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, episode in enumerate(listed):
        for role in ROLES:
            for way, (class_name, images) in enumerate(zip(episode.classes, getattr(episode, role), strict=True)):
                writer.writerows([number, way, class_name, role, place, image] for place, image in enumerate(images))
    return file.getvalue()


def _from_csv(text: str) -> tuple[dict[str, Any], list[ListedEpisode]]:
    first = text.partition("\n")[0]
    separator = next((mark for mark in ";\t" if first.count(mark) >= len(COLUMNS) - 1), ",")
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    if not set(COLUMNS) <= set(lines.fieldnames or ()):
        raise ValueError(f"the columns {', '.join(COLUMNS)} are needed, its first line is {first[:80]!r}")
    found: dict[int, dict[tuple[str, int], list[tuple[int, str, str]]]] = {}
    for line in lines:
        cells = [line[column] or "" for column in COLUMNS]
        if not any(cells):
            continue
        number, way, class_name, role, place, file = cells
        if role not in ROLES:
            raise ValueError(f"line {lines.line_num}: the role is {role!r}, support or query is needed")
        images = found.setdefault(_whole(number), {}).setdefault((role, _whole(way)), [])
        images.append((_whole(place), class_name, file))
    if sorted(found) != list(range(len(found))):
        raise ValueError("its episodes are not numbered 0, 1, 2, ...")
    return {}, [_episode_of(number, found[number]) for number in range(len(found))]


def _whole(cell: str) -> int:
    """A number that a spreadsheet or pandas may have made 3.0."""
    return int(cell.removesuffix(".0"))


def _episode_of(number: int, found: Mapping[tuple[str, int], list[tuple[int, str, str]]]) -> ListedEpisode:
    ways = sorted({way for _, way in found})
    for role in ROLES:
        if lacking := [way for way in ways if (role, way) not in found]:
            raise ValueError(f"episode {number} has no {role} images in way {lacking[0]}; was the file cut short?")
    names = [{name for role in ROLES for _, name, _ in found[role, way]} for way in ways]
    if any(len(own) != 1 for own in names):
        raise ValueError("an episode has images of several classes in one way")
    support, query = (tuple(tuple(file for *_, file in sorted(found[role, way])) for way in ways) for role in ROLES)
    return ListedEpisode(tuple(name for own in names for name in own), support, query)
