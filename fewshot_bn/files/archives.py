"""Archives: unpacked whole or not at all, and never outside their folder.

A first pass reads every entry and refuses the archive where one of them is not what a dataset consists of: files and
folders with plain names, and links within a tar archive, which become copies of the files they name. Then all is
written into a hidden folder in the target, or beside it where it is not there yet, and moved at the end. Permissions,
owners and times stay behind.

Source: the filter `data` of tarfile (PEP 706) refuses a part of what is refused here.
"""

import contextlib
import filecmp
import gzip
import lzma
import os
import posixpath
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from fewshot_bn.errors import DataError
from fewshot_bn.files.atomic import check_free

BLOCK_BYTES = 2**20
HEADER_BYTES = 512  # counted for each entry, so that an archive of very many empty files is a bomb too
BOMB_RATIO, BOMB_BYTES = 200, 2**30
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
NONSENSE = (ValueError, LookupError, OverflowError, MemoryError)  # names without a letter, sizes of 2^63: damaged too
ZIP_WAYS = (0, 8, 12, 14)  # stored, deflated, bzip2, lzma: those that zipfile knows


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an archive says of an entry; `link` is the file it is the same as, `odd` why it is refused."""

    name: str
    n_bytes: int
    open: Callable[[], IO[bytes]]
    is_folder: bool = False
    link: str = ""
    odd: str = ""


def unpack(archive: Path, folder: Path) -> Iterator[int]:
    """Unpack `archive` into `folder` while iterated over; yields the bytes so far, 0 once all entries are looked at.

    What `folder` holds stays. Raises `DataError` where the archive is damaged or of another kind, an entry is refused,
    the disk is too small, or a file of the same name but other content is there; then nothing is unpacked.
    """
    folder = folder.resolve()
    try:
        with contextlib.ExitStack() as opened:
            plan = _plan(archive, _reader(archive)(archive, opened))
            check_free(folder, sum(entry.n_bytes for entry in plan.values()))
            folder.parent.mkdir(parents=True, exist_ok=True)
            place = folder if folder.is_dir() else folder.parent
            hidden = opened.enter_context(tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=place))
            whole = Path(hidden) / "whole"
            yield from _write(plan, whole)
            _check_same_where_both(whole, folder)
            _move(whole, folder)
    except (*DAMAGED, *NONSENSE, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno:  # gzip and bz2 raise OSError without a number
            why = f"cannot be unpacked into {folder}: {problem.strerror}"
            raise DataError(f"{archive}: {why}; mend that and run the same command again") from problem
        raise DataError(f"{archive}: this archive is damaged or truncated; delete it and fetch it again") from problem


def _zip(archive: Path, opened: contextlib.ExitStack) -> Iterator[_Entry]:
    file = opened.enter_context(zipfile.ZipFile(archive))
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0  # 3: made under Unix
        odd = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a link, a device or a pipe"
        odd = odd if info.compress_type in ZIP_WAYS else f"is compressed in an unknown way, {info.compress_type}"
        odd = "is encrypted" if info.flag_bits & 0x41 else odd
        is_folder = info.is_dir() or kind == stat.S_IFDIR
        yield _Entry(info.filename, info.file_size, partial(file.open, info), is_folder=is_folder, odd=odd)


def _tar(archive: Path, opened: contextlib.ExitStack) -> Iterator[_Entry]:
    file = opened.enter_context(tarfile.open(archive))  # noqa: SIM115 - closed by `opened`
    for member in file:
        content = cast("Callable[[], IO[bytes]]", partial(file.extractfile, member))
        start = posixpath.dirname(member.name) if member.issym() else ""  # hard links start at the root of the archive
        link = posixpath.normpath(posixpath.join(start, member.linkname)) if member.issym() or member.islnk() else ""
        odd = "" if link or member.isreg() or member.isdir() else "is a device or a pipe"
        yield _Entry(member.name, member.size, content, is_folder=member.isdir(), link=link, odd=odd)
    stream = cast("IO[bytes]", file.fileobj)
    stream.seek(file.offset)
    if stream.read(HEADER_BYTES) != bytes(HEADER_BYTES):  # tarfile takes a broken header for the end
        raise EOFError("the mark of the end is missing")
    _n_bytes_left(archive, stream.read)  # behind it is the checksum of a compressed archive


def _gz(archive: Path, opened: contextlib.ExitStack) -> Iterator[_Entry]:
    content = cast("Callable[[], IO[bytes]]", partial(gzip.open, archive))
    yield _Entry(archive.name[: -len(".gz")], _n_bytes_left(archive, opened.enter_context(content()).read), content)


_Reader = Callable[[Path, contextlib.ExitStack], Iterator[_Entry]]
READERS: dict[str, _Reader] = dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), _tar)
READERS |= {".zip": _zip, ".gz": _gz}


def _reader(archive: Path) -> _Reader:
    for ending, reader in READERS.items():
        if archive.name.lower().endswith(ending):
            return reader
    raise DataError(f"{archive}: unknown kind of archive; {', '.join(READERS)} can be unpacked, others by hand")


def _n_bytes_left(archive: Path, read: Callable[[int], bytes]) -> int:
    n_bytes = 0
    while block := read(BLOCK_BYTES):
        n_bytes += len(block)
        _check_no_bomb(archive, n_bytes)
    return n_bytes


def _check_no_bomb(archive: Path, n_bytes: int) -> None:
    n_packed = archive.stat().st_size
    if n_bytes > max(BOMB_RATIO * n_packed, BOMB_BYTES):
        why = f"{n_packed:,} bytes would become {n_bytes:,} or more, at most {BOMB_RATIO} times as many are unpacked"
        raise DataError(f"{archive}: its {why}; where you trust it, unpack it by hand")


def _plan(archive: Path, entries: Iterator[_Entry]) -> dict[PurePosixPath, _Entry]:
    """All the entries by their paths, once none of them is refused; links have the sizes of their files."""
    plan: dict[PurePosixPath, _Entry] = {}
    n_bytes = 0
    for entry in entries:
        path = PurePosixPath(entry.name)
        reasons = {
            entry.odd: entry.odd,
            "has a backslash or a zero byte in its name": re.search(r"[\\\0]", entry.name),
            "has an absolute path": re.search(r"^/|(^|/)[A-Za-z]:", entry.name),
            "leads out of the folder": ".." in path.parts,
            "has no name": not path.parts and not entry.is_folder,
            "is there twice": path in plan and not (plan[path].is_folder and entry.is_folder),
        }
        _refuse_if(reasons, archive, entry)
        n_bytes += entry.n_bytes + HEADER_BYTES
        _check_no_bomb(archive, n_bytes)
        plan[path] = entry
    if not plan or not archive.stat().st_size:  # gzip takes no bytes at all for a compressed nothing
        raise EOFError("it holds nothing")
    for path, entry in plan.items():
        in_file = any(parent in plan and not plan[parent].is_folder for parent in path.parents)
        _refuse_if({"is inside a file": in_file}, archive, entry)
        if entry.link:
            file = plan.get(PurePosixPath(entry.link), entry)
            why = f"is a link to {entry.link!r}, which is no file of this archive"
            _refuse_if({why: file.is_folder or file.link}, archive, entry)
            plan[path] = replace(entry, n_bytes=file.n_bytes)
            n_bytes += file.n_bytes
            _check_no_bomb(archive, n_bytes)
    return plan


def _refuse_if(reasons: Mapping[str, object], archive: Path, entry: _Entry) -> None:
    for why in (why for why, is_so in reasons.items() if is_so):
        raise DataError(f"{archive}: the entry {entry.name!r} {why}; where you trust the archive, unpack it by hand")


def _write(plan: dict[PurePosixPath, _Entry], whole: Path) -> Iterator[int]:
    done = 0
    yield done
    whole.mkdir()
    for path, entry in sorted(plan.items(), key=lambda item: bool(item[1].link)):  # what links name comes first
        target = whole / path
        (target if entry.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        if entry.is_folder:
            continue
        end = done + entry.n_bytes
        with (whole / entry.link).open("rb") if entry.link else entry.open() as source, target.open("xb") as file:
            while done <= end and (block := source.read(BLOCK_BYTES)):
                file.write(block)
                done += len(block)
                yield done
        if done != end:
            raise EOFError("an entry is not as long as the archive says")


def _check_same_where_both(whole: Path, folder: Path) -> None:
    for path in (whole, *whole.rglob("*")):
        there = folder / path.relative_to(whole)
        is_same = there.is_dir() if path.is_dir() else there.is_file() and filecmp.cmp(path, there, shallow=False)
        if os.path.lexists(there) and not is_same:
            raise DataError(f"{there}: is there already and is not what the archive holds; move it away and try again")


def _move(source: Path, target: Path) -> None:
    """Move what is not at `target` yet; all of it at once where nothing is."""
    if not os.path.lexists(target):
        source.rename(target)
    elif source.is_dir():
        for child in list(source.iterdir()):
            _move(child, target / child.name)
