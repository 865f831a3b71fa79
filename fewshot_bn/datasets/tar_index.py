"""What a tar file holds, from its headers alone: name, place and size of each file; nothing is unpacked."""

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewshot_bn.datasets.tar_headers import BLOCK_BYTES, Member, plain_members
from fewshot_bn.errors import DataError

COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}
MOST_HEADER_BYTES = 2**20  # of long names and other facts of one file
MOST_FILES = 20_000_000
DAMAGED = (tarfile.TarError, OSError, EOFError, ValueError, LookupError, OverflowError, RuntimeError)


@dataclass(slots=True)
class Contents:
    """The files of one tar file; of other members how many there are of a kind; and whether the end has its mark."""

    members: list[Member]
    others: Counter[str] = field(default_factory=Counter)
    has_end: bool = True


class _Headers(io.FileIO):
    """A file of which no long piece is read, whatever a header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return super().read(size) or b""


def read_index(path: Path) -> Contents:
    """Raises `DataError` for a file that is compressed, cut off, damaged or no tar file."""
    try:
        with path.open("rb") as raw:
            begins = raw.read(BLOCK_BYTES)
        if tool := COMPRESSED.get(begins[:2]):
            raise DataError(
                f"{path}: is compressed, so no single image can be read from it; once: {tool} <{path.name} >plain.tar"
            )
        n_bytes = path.stat().st_size
        with _Headers(path) as raw:
            members = plain_members(raw.fileno(), n_bytes) if hasattr(os, "pread") else None
            return Contents(_tidy(members)) if members else _index(raw, n_bytes)
    except DAMAGED as problem:
        if isinstance(problem, OSError) and problem.strerror:
            raise DataError(f"{path}: this tar file cannot be read: {problem.strerror}") from problem
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise DataError(f"{path}: this tar file cannot be read: {reason}; get it again") from problem


def _index(raw: _Headers, n_bytes: int) -> Contents:
    if not n_bytes:
        raise tarfile.ReadError("it is empty (0 bytes)")
    found = Contents([])
    with tarfile.open(fileobj=raw, mode="r:", errorlevel=0) as tar:
        for info in _members(tar):
            if info.offset_data + info.size > n_bytes or info.size < 0:
                raise tarfile.ReadError(f"it is cut off: {info.name!r} claims {info.size:,} bytes, more than there are")
            if len(found.members) >= MOST_FILES:
                raise tarfile.ReadError(f"it holds more than {MOST_FILES:,} files")
            if kind := _kind(info):
                found.others[kind] += 1
            elif not info.isdir():
                found.members.append(Member(info.name, info.offset_data, info.size))
        raw.seek(tar.offset)
    mark = raw.read(BLOCK_BYTES)
    if mark.strip(b"\0"):
        raise tarfile.ReadError(f"it is damaged at byte {raw.tell() - len(mark):,}")
    found.has_end = len(mark) == BLOCK_BYTES
    found.members = _tidy(found.members)
    return found


def _tidy(members: list[Member]) -> list[Member]:
    return [replace(one, name=one.name[2:]) if one.name.startswith("./") else one for one in members]


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    kept: list[tarfile.TarInfo] = tar.members  # type: ignore[attr-defined]
    while (info := tar.next()) is not None:
        kept.clear()  # for the sake of memory
        yield info


def _kind(info: tarfile.TarInfo) -> str:
    """What a member is that is neither a folder nor a plain file."""
    if info.issym() or info.islnk():
        return "link"
    if info.issparse():
        return "sparse file"
    return "" if info.isdir() or info.isreg() else "device"
