"""The arrays of an HDF5 file, those in groups too; nothing that the file itself does not hold is followed.

HDF5 can keep an array in other files, as external storage, as a virtual array or behind a link: such a file could
make images or class names of anything that its user may read.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from fewshot_bn.datasets.array_names import KNOWN, canonical
from fewshot_bn.datasets.split_names import split_number
from fewshot_bn.errors import DataError

PATIENCE_S = 15.0  # and a second more for every 100,000 texts
READ_TEXTS = """
import h5py, json, sys
with h5py.File(sys.argv[1], "r") as file:
    values = file[sys.argv[2]][()].ravel().tolist()
texts = [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in values]
json.dump([text if isinstance(text, str) else None for text in texts], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """Arrays by their canonical names, and what the groups are called that were not looked into."""

    arrays: dict[str, Any]
    groups: tuple[str, ...] = ()


def open_hdf5(path: Path) -> Contents:
    """Its arrays; those of groups that are called as splits, or of the only group, as if they lay outside.

    Raises `DataError` for an array that lies elsewhere, and for one that nothing was written to.
    """
    import h5py

    # A row of a compressed file may lie in hundreds of chunks, which hold the rows after it too.
    file = h5py.File(path, "r", rdcc_nbytes=2**26, rdcc_nslots=100_003)
    arrays: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, item in _items(file):
        if isinstance(item, h5py.Dataset):
            arrays[canonical(name)] = item
        elif split_number(name) >= 0:
            arrays |= {canonical(f"{name.lower()}_{inner}"): part for inner, part in _arrays(item)}
        else:
            others[name] = item
    if len(others) == 1 and KNOWN.isdisjoint(arrays):
        (group,) = others.values()
        inside = {canonical(name): part for name, part in _arrays(group)}
        if not KNOWN.isdisjoint(inside):
            return Contents(_checked(path, inside))
    return Contents(_checked(path, arrays), tuple(others))


def _arrays(group: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    return ((name, item) for name, item in _items(group) if isinstance(item, h5py.Dataset))


def _items(group: Any) -> Iterator[tuple[str, Any]]:
    """What a group holds, without links that matter to nobody; raises for those that would be followed."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        inside = isinstance(link, h5py.HardLink) or (isinstance(link, h5py.SoftLink) and _stays(group, link.path))
        if inside:
            yield name, group[name]
        elif canonical(name) in KNOWN or split_number(name) >= 0:
            target = getattr(link, "path", "?")  # of a damaged link nothing is known
            raise DataError(
                f"{group.file.filename}: {name} is a link to {target!r}, which is not followed, as it leads out of "
                "the file, to another link or nowhere; write the array itself into the file"
            )


def _stays(group: Any, path: str) -> bool:
    """Whether each step of a path is something that lies in the file."""
    import h5py

    place = group.file if path.startswith("/") else group
    for step in filter(None, path.split("/")):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(step, getlink=True), h5py.HardLink):
            return False
        place = place[step]
    return True


def _checked(path: Path, arrays: dict[str, Any]) -> dict[str, Any]:
    usable = {name: item for name, item in arrays.items() if item.shape is not None and item.dtype.kind}
    for name in usable.keys() & KNOWN:
        item = usable[name]
        if item.external or item.is_virtual:
            raise DataError(
                f"{path}: {name} lies in other files (external storage or a virtual array), which are not read; write "
                "the array itself into the file"
            )
        if item.size and item.dtype.kind != "O" and not item.id.get_storage_size():
            raise DataError(f"{path}: {name} has the shape {list(item.shape)}, but nothing was written to it")
    return usable


def texts_of(array: Any) -> ndarray:
    """An array of texts of any length, None for what is none, read by a process of its own.

    In a damaged file such texts may lead the HDF5 library in circles, which nothing but the end of the process ends.
    Raises `ValueError`.
    """
    command = [sys.executable, "-P", "-c", READ_TEXTS, array.file.filename, array.name]
    patience_s = PATIENCE_S + array.size / 1e5
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience_s, check=True)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as problem:
        raise ValueError(f"{array.name}: these texts are damaged: reading them does not end") from problem
    except subprocess.CalledProcessError as problem:
        last = problem.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(f"{array.name}: these texts are damaged: {''.join(last)}") from problem
    return np.array(json.loads(done.stdout), object).reshape(array.shape)
