"""The headers of a tar file as most programs write them, read several times as fast as tarfile does.

Plain files and folders, long names of GNU, and what pax adds to them, such as times. A file that holds anything else is
left to tarfile, as is one that is damaged or cut off.
Source: POSIX.1-2017, pax, "ustar interchange format" and "pax header block".
"""

import os
import re
import zlib
from dataclasses import dataclass

BLOCK_BYTES = 512
END = bytes(BLOCK_BYTES)
FILE, OLD_FILE, FOLDER, LONG_NAME, PAX = b"0", b"\0", b"5", b"L", b"x"
MOST_MORE = 2**16  # bytes of a long name or of what pax adds
CHECKSUM = slice(148, 156)
NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))  # mode, owners, time, device
USUAL = re.compile(rb"(?s).{100}(?:[0-7]{7}\0){3}[0-7]{11}\0[0-7]{11}\0.{181}(?:[0-7]{7}\0|\0{8}){2}")
ADLER = 65521
NOT_PLAIN = ("size", "hdrcharset", "linkpath", "GNU.")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar file, and where its content lies."""

    name: str
    offset: int
    n_bytes: int


class _NotPlain(Exception):  # noqa: N818 - it never leaves this module
    """What is left to tarfile."""


def plain_members(file: int, n_bytes: int) -> list[Member] | None:
    """The files of an open tar file of `n_bytes`, up to the mark of its end; None if it holds anything unusual."""
    try:
        return _members(file, n_bytes)
    except (_NotPlain, ValueError, OSError):
        return None


def _members(file: int, n_bytes: int) -> list[Member]:
    members: list[Member] = []
    at, name = 0, b""
    while (header := os.pread(file, BLOCK_BYTES, at)) != END:
        if len(header) < BLOCK_BYTES or not _is_whole(header):
            raise _NotPlain
        kind, size = header[156:157], _number(header[124:136])
        content = at + BLOCK_BYTES
        at = content + -(-size // BLOCK_BYTES) * BLOCK_BYTES
        if at > n_bytes:
            raise _NotPlain
        if kind in (PAX, LONG_NAME):
            if size > MOST_MORE or name:
                raise _NotPlain
            more = os.pread(file, size, content)
            name = _path_of(more) or name if kind == PAX else more.rstrip(b"\0")
            continue
        named = name or _name(header)
        if kind in (FILE, OLD_FILE) and not named.endswith(b"/"):
            members.append(Member(named.decode("utf-8", "surrogateescape"), content, size))
        elif kind != FOLDER or size:
            raise _NotPlain
        name = b""
    return members


def _is_whole(header: bytes) -> bool:
    """Whether its checksum is right; raises `ValueError` where a number is none, of which tarfile takes care."""
    if not USUAL.match(header):
        for start, end in NUMBERS:
            _number(header[start:end])
    # Adler's checksum begins with the sum of all bytes, modulo a prime; the field itself counts as spaces.
    found = _number(header[CHECKSUM]) - 8 * ord(" ") + sum(header[CHECKSUM])
    return (zlib.adler32(header) - 1) % 2**16 == found % ADLER or sum(header) == found


def _number(field: bytes) -> int:
    """Of digits in base 8; raises `ValueError` for the other form, of large numbers."""
    digits = field.partition(b"\0")[0].strip()
    if digits and not digits.isdigit():
        raise ValueError(digits)
    return int(digits or b"0", 8)


def _name(header: bytes) -> bytes:
    name, folder = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return folder + b"/" + name if folder and header[257:263] == b"ustar\0" else name


def _path_of(more: bytes) -> bytes:
    """The path among what pax adds, such as `path=long/name`; nothing without one."""
    path = b""
    while more:
        length = int(more.partition(b" ")[0])
        record = more[:length]
        key, equals, value = record.partition(b" ")[2].partition(b"=")
        if not 5 <= length <= len(more) or not equals or not record.endswith(b"\n"):
            raise _NotPlain
        if key.decode("utf-8").startswith(NOT_PLAIN):
            raise _NotPlain
        path = value[:-1] if key == b"path" else path
        more = more[length:]
    return path
