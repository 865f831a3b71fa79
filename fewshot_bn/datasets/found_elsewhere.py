"""Images of a table that lie in folders of other names than the usual ones: resized copies, other archives."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewshot_bn.datasets.dataset import Finding
from fewshot_bn.datasets.listed import Found, images_in
from fewshot_bn.datasets.masks import FOLDER
from fewshot_bn.datasets.rows import Row
from fewshot_bn.datasets.tree import is_ignored
from fewshot_bn.errors import DataError, some

DEPTH, MOST_FOLDERS = 4, 500
ENDING = re.compile(r"\.[a-z0-9]{2,4}$", re.IGNORECASE)


def find_elsewhere(
    name: str, tops: Sequence[Path], rows: Sequence[Row], patterns: Sequence[str]
) -> tuple[Found, list[Finding]]:
    """The listed images below the first of `tops` that holds any, by name or by name but for the ending; and a notice.

    Raises `DataError` where none is there, and where the same images are in several folders.
    """
    looked = f"looked in the folders {', '.join(patterns)} of {tops[0]}, and in all others"
    named = {_stem(row.id): row.id for row in rows} | {row.id: row.id for row in rows}
    for top in tops:
        by_folder = {folder: files for folder in _folders(top) if (files := _listed_in(folder, named))}
        where = defaultdict(list)
        for folder, files in by_folder.items():
            for image_id in files:
                where[image_id].append(folder)
        if twice := next((folders for folders in where.values() if len(folders) > 1), None):
            places = some([str(folder) for folder in twice], 6)
            raise DataError(
                f"{name}: its images are in none of the folders {', '.join(patterns)} of {tops[0]}, and the same "
                f"are in {places}; call the folder that is meant {patterns[0]}, or move the others elsewhere"
            )
        if by_folder:
            files = {
                image_id: (os.path.relpath(folder / file, tops[0]), state)
                for folder, found in by_folder.items()
                for image_id, (file, state) in found.items()
            }
            shown = some([os.path.relpath(folder, top) for folder in by_folder])
            return Found(files), [Finding(f"{name}: the images are those in {shown} of {top}")]
    text = f"{name}: none of the {len(rows):,} listed images is there: {some([row.id for row in rows])}; {looked}"
    raise DataError(f"{text}, {DEPTH} deep")


def _listed_in(folder: Path, named: Mapping[str, str]) -> dict[str, tuple[str, os.stat_result]]:
    """The images in a folder that are listed under their names, or else under their names without the ending."""
    found: dict[str, tuple[str, os.stat_result]] = {}
    for file, state in images_in(folder):
        image_id = named.get(file) or named.get(_stem(file))
        if image_id and (image_id not in found or file == image_id):
            found[image_id] = (file, state)
    return found


def _stem(name: str) -> str:
    return ENDING.sub("", name)


def _folders(top: Path) -> list[Path]:
    """The folders below it but those of masks, and not too deep."""
    found, level = [top], [top]
    for _ in range(DEPTH):
        level = [folder / name for folder in level for name in _inside(folder)][:MOST_FOLDERS]
        found += level
    return found[:MOST_FOLDERS]


def _inside(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            inside = [entry.name for entry in entries if not is_ignored(entry.name) and entry.is_dir()]
    except OSError:  # closed, or a link that leads in circles
        return []
    return sorted(name for name in inside if not FOLDER.fullmatch(name))
