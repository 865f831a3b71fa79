"""Files that are there whole or not at all, and reading and writing at a place of a file."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from fewshot_bn.errors import DataError

BINARY = getattr(os, "O_BINARY", 0)  # for os.open, on Windows
_one_at_a_time = threading.Lock()
logger = logging.getLogger(__name__)


def plain_name(text: str) -> str:
    """A short part of a file name made of any text."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:50]


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file `path`; if another process holds it, log the text `waiting` and wait. Raises `OSError`."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        logger.warning(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name, then give it its own. Raises `OSError`, and then leaves what was there."""
    half_made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with half_made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half_made.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            half_made.unlink(missing_ok=True)
        raise


def read_at(file: int, into: memoryview, at: int) -> bool:
    """Fill `into` from byte `at` of an open file on; says whether the file is long enough. For several threads."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [into], at) == into.nbytes
    with _one_at_a_time:  # Windows
        os.lseek(file, at, os.SEEK_SET)
        found = os.read(file, into.nbytes)
    if len(found) == into.nbytes:
        into.cast("B")[:] = found
    return len(found) == into.nbytes


def write_at(file: int, data: bytes, at: int) -> None:
    """Write `data` from byte `at` of an open file on, which no other thread uses."""
    os.lseek(file, at, os.SEEK_SET)
    n = os.write(file, data)
    while n < len(data):  # near the end of a disk a write may be cut short; the next then says why
        n += os.write(file, data[n:])


def digest(parts: Iterable[object]) -> str:
    """SHA-256 over the parts, each preceded by its length, so that no two lists of parts look alike."""
    sha = hashlib.sha256()
    for part in parts:
        encoded = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        sha.update(len(encoded).to_bytes(8, "little"))
        sha.update(encoded)
    return sha.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_free(folder: Path, n_bytes: int) -> None:
    """Raise `DataError` where the disk on which `folder` is, or will be, has less room than that."""
    place = folder.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        n_free = shutil.disk_usage(place).free
    except OSError as problem:
        raise DataError(f"{folder}: cannot be looked at: {problem.strerror}; choose another folder") from problem
    if n_free < n_bytes:
        raise DataError(f"{folder}: {n_free / 1e9:.2f} GB are free there, {n_bytes / 1e9:.2f} GB are needed; make room")
