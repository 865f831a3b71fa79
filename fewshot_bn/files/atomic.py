"""The primitives of files: written whole or not at all, locked, hashed, read and written at a place."""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
import shutil
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock

from fewshot_bn.errors import DataError, FewshotError

logger = logging.getLogger(__name__)

BINARY = getattr(os, "O_BINARY", 0)  # for os.open, on Windows
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_one_at_a_time = threading.Lock()


def plain_name(text: str) -> str:
    """A short part of a file name made of any text."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:50]


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock file `path`. If another process holds it, log the warning `waiting`, if any, and wait.

    On a file system that has no locks, say so in the log and go on without. Raises `OSError`.
    """
    lock = filelock.FileLock(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without flock, filelock says that it goes by the file itself
            _acquire(lock, waiting)
    except OSError as problem:
        if problem.errno not in NO_LOCKS:
            raise
        _warn_once(f"{path.parent}: this file system has no locks; let no two runs write there at once")
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock, waiting: str) -> None:
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        if waiting:
            logger.warning(waiting)
        lock.acquire()


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def make_folder(path: Path) -> None:
    """With the folders above it. Raises `OSError`, also for a path of so many that Python gives up on it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except RecursionError as problem:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path)) from problem


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what was there. Raises `OSError`."""
    with replacing(path) as half_made:
        half_made.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file under, which is `path` at the end; after an error, what was there is left.

    Raises `OSError`.
    """
    half_made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield half_made
        rename_synced(half_made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            half_made.unlink(missing_ok=True)
        raise


def rename_synced(half_made: Path, path: Path) -> None:
    """Bring a file to the disk, then rename it: a power cut leaves it whole or as it was. Raises `OSError`."""
    with half_made.open("r+b") as file:
        os.fsync(file.fileno())
    half_made.replace(path)


def read_file(path: Path, most_bytes: int) -> bytes:
    """All of a file of the user's; never waits for a pipe. Raises `OSError`, also if it is no file or too large."""
    descriptor = os.open(path, os.O_RDONLY | BINARY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, a file is needed")
        if found.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, at most {most_bytes:,} are read")
        return file.read(most_bytes)


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
        sha.update(len(encoded).to_bytes(8, "little") + encoded)
    return sha.hexdigest()


@functools.cache
def code_digest(*modules: str) -> str:
    """Of the source of these modules and folders, as paths in the package: caches of other code are not used."""
    package = Path(__file__).parent.parent
    named = [package / module for module in modules]
    files = [file for path in named for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return digest([file.read_bytes() for file in files if file.is_file()])


def hash_of(path: Path, algorithm: str) -> Any:
    """The hash object (`sha256` or `md5`) of all that a file holds; more can be added to it. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.new, algorithm, usedforsecurity=False))


def sha256_of(path: Path) -> str:
    sha256: str = hash_of(path, "sha256").hexdigest()
    return sha256


def check_free(folder: Path, n_bytes: int, error: type[FewshotError] = DataError) -> None:
    """Raise `error` if the disk on which `folder` is, or will be, has less room than that."""
    place = folder.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        n_free = shutil.disk_usage(place).free
    except OSError as problem:
        raise error(f"{folder}: cannot be looked at: {problem.strerror}; choose another folder") from problem
    if n_free < n_bytes:
        raise error(f"{folder}: {n_free / 1e9:.2f} GB are free there, {n_bytes / 1e9:.2f} GB are needed; make room")
