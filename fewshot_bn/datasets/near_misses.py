"""Why a listed image is not there, when something much like it is: how the path would have to be written."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from fewshot_bn.datasets.rows import IMAGE_SUFFIXES

MOST_LOOKED_AT = 20_000  # entries of folders below that of the table
DEEPEST = 4


def advice_on(path: str, folder: Path) -> str:
    """What to change about `path`, which is not in `folder`; nothing if nothing there is like it."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    for tail in (PurePosixPath(*parts[k:]) for k in range(len(parts))):
        found = _like(folder, tail)
        if found is None:
            continue
        is_absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
        if len(tail.parts) < len(parts) and is_absolute:
            return f"{found} is there: write paths as seen from the folder of the table"
        return f"{found} is there: {_difference(path, found)}"
    elsewhere = next((place for place in _below(folder) if PurePosixPath(place).name == parts[-1]), "") if parts else ""
    return f"{elsewhere} is there: write paths as seen from the folder of the table" if elsewhere else ""


def _difference(path: str, found: str) -> str:
    if path.lower() == found.lower():
        return "upper and lower case count"
    if PurePosixPath(found).stem == PurePosixPath(path).name:
        return "the suffix belongs to the path"
    if PurePosixPath(found).with_suffix("") == PurePosixPath(path).with_suffix(""):
        return "its suffix is another"
    return "write paths as seen from the folder of the table"


def _like(folder: Path, path: PurePosixPath) -> str | None:
    """The file of that path, but for case and for its suffix."""
    place, found = folder, list[str]()
    *above, name = path.parts
    for part in above:
        names = _names(place)
        match = part if part in names else next((one for one in names if one.lower() == part.lower()), None)
        if match is None:
            return None
        place, found = place / match, [*found, match]
    names = _names(place)
    wanted = [name, *(stem + suffix for stem in (name, PurePosixPath(name).stem) for suffix in IMAGE_SUFFIXES)]
    by_case = {one.lower(): one for one in names}
    match = next((by_case[one.lower()] for one in wanted if one.lower() in by_case), None)
    return None if match is None or not (place / match).is_file() else "/".join([*found, match])


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _below(folder: Path) -> Iterator[str]:
    """Files below `folder`, the first so many."""
    seen = 0
    for place, folders, files in os.walk(folder):
        part = Path(place).relative_to(folder)
        folders[:] = sorted(folders) if len(part.parts) < DEEPEST else []
        for name in sorted(files):
            yield (part / name).as_posix()
        seen += len(files) + len(folders)
        if seen > MOST_LOOKED_AT:
            return
