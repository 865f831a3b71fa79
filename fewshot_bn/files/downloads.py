"""Downloads: files fetched by http(s), gone on with where they stopped, checked before they get their name.

While it arrives a file is called `<file>.part`; it is renamed once its checksum is the one its card states, so that a
file that is there is whole. One process downloads a file at a time; the others wait for it. A file of which no checksum
is published comes over https only, from its first byte on, since nothing tells whether two parts belong together.

Units: sizes are in bytes; a total of 0 is not known.
Source: range requests and their answers 200, 206 and 416: RFC 9110, section 14.
"""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from fewshot_bn.errors import DataError
from fewshot_bn.files.atomic import check_free, hash_of, locked, rename_synced

BLOCK_BYTES = 2**18
TIMEOUT_S = 30.0
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")  # nobody is in between


@runtime_checkable
class Wanted(Protocol):
    """What a file is called here, where it is fetched from, and how it is known to be the right one.

    `checksum` may be the first digits only, or "" where none is known; `n_bytes` is 0 where that is not known.
    """

    @property
    def url(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def checksum(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a card: where it is, what it is called here, how it is known to be the right one.

    `unpack` is the folder under the data root in which an archive is unpacked, `folder` the one in which a file that is
    no archive belongs.
    Raises `DataError` where these facts cannot be right.
    """

    url: str
    file: str
    n_bytes: int = 0
    md5: str = ""
    sha256: str = ""
    unpack: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        where = f"the download {self.file!r}"
        if not re.fullmatch(r"[^./\\:\0-\x1f][^/\\:\0-\x1f]*", self.file):
            raise DataError(f"{where}: a plain file name is needed, without slashes and without a dot in front")
        if not re.fullmatch(r"https?://[!-~]+", self.url):
            raise DataError(f"{where}: its url is {self.url!r}; one of http:// or https:// without spaces is needed")
        if not re.fullmatch(r"[0-9a-f]{32}/|/[0-9a-f]{64}", f"{self.md5}/{self.sha256}"):
            found = f"md5 is {self.md5!r} and sha256 {self.sha256!r}"
            raise DataError(f"{where}: {found}; one of them is needed, as 32 or 64 digits 0-9a-f")
        for name in ("unpack", "folder"):
            text: str = getattr(self, name)
            folder = PurePosixPath(text)
            if folder.is_absolute() or ".." in folder.parts or re.search(r"[\\:\0]", text):
                raise DataError(f"{where}: {name} is {text!r}; a folder under the data root is needed")

    @property
    def algorithm(self) -> str:
        return "md5" if self.md5 else "sha256"

    @property
    def checksum(self) -> str:
        return self.md5 or self.sha256


def download(what: Wanted, folder: Path) -> Iterator[tuple[int, int]]:
    """Fetch `what` into `folder` while iterated over; yields the bytes so far and the total.

    A file that is there is only checked. Raises `DataError` where that is another file, the network or the disk fails,
    or what arrives is not what the card states. What had arrived before an interruption is not fetched again.
    """
    target = folder / what.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{what.file}.lock", f"another run is fetching {target}; waiting for it"):
            if target.exists():
                yield _checked(what, target)
            else:
                yield from _fetch(what, target)
    except OSError as problem:  # of the disk: those of the network have been told where they happen
        raise DataError(
            f"{folder}: {what.file} cannot be read or written here: {problem.strerror}; mend that and run the same "
            "command again, it goes on from what has arrived"
        ) from problem


def by_hand(target: Path) -> str:
    """What a person can do instead."""
    return f"try again, or fetch it by hand and put it at {target}"


def part_of(target: Path) -> Path:
    """The file that holds what has arrived of `target`."""
    return target.with_name(f"{target.name}.part")


def _checked(what: Wanted, path: Path) -> tuple[int, int]:
    found = hash_of(path, what.algorithm).hexdigest()
    if not found.startswith(what.checksum):
        raise DataError(f"{path}: its {what.algorithm} is {found}, {what.checksum} is needed; move it away")
    return path.stat().st_size, path.stat().st_size


def _fetch(what: Wanted, target: Path) -> Iterator[tuple[int, int]]:
    part = part_of(target)
    response = _ask(what, target, part.stat().st_size if what.checksum and part.exists() else 0)
    if response is None and not hash_of(part, what.algorithm).hexdigest().startswith(what.checksum):
        response = _ask(what, target, 0)
    if response is not None:
        with response:
            yield from _receive(what, response, part)
    rename_synced(part, target)


def _ask(what: Wanted, target: Path, start: int) -> http.client.HTTPResponse | None:
    """The answer that goes on from byte `start` or begins anew; None: the server has nothing from `start` on."""
    headers = {"User-Agent": "fewshot_bn"} | ({"Range": f"bytes={start}-"} if start else {})
    response: Any
    try:
        request = urllib.request.Request(what.url, headers=headers)  # noqa: S310 - a Download is http(s)
        opener = urllib.request.build_opener(_OnlyHttp if what.checksum else _OnlySecure)
        response = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as answer:
        response = answer
    except (OSError, http.client.HTTPException, ValueError) as problem:  # ValueError: a malformed address
        raise DataError(f"{what.url}: cannot be fetched: {_reason(problem)}; {by_hand(target)}") from problem
    if response.status == 200 or (start and _extent(response)[0] == start):
        return cast("http.client.HTTPResponse", response)
    response.close()
    if start and response.status in (206, 416):
        return None
    raise DataError(f"{what.url}: the server answers {response.status} {_reason(response)}; {by_hand(target)}")


class _OnlyHttp(urllib.request.BaseHandler):
    """Refuses the one other kind of address to which urllib lets itself be redirected."""

    def ftp_request(self, request: urllib.request.Request) -> urllib.request.Request:
        raise urllib.error.URLError(f"it redirects to {request.full_url}, which is not http(s)")


class _OnlySecure(_OnlyHttp):
    """Refuses every address on the way from which others could send something else."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if urlsplit(request.full_url).hostname not in THIS_MACHINE:
            why = "is not https, and no checksum is known that would tell whether the file is the right one"
            raise urllib.error.URLError(f"{request.full_url} {why}")
        return request


def _reason(problem: object) -> str:
    """Why a request failed, in one line."""
    return " ".join(str(getattr(problem, "reason", problem)).split()) or type(problem).__name__


def _extent(response: Any) -> tuple[int, int]:
    """The first byte of an answer and the size of the whole file."""
    if response.status == 200:
        return 0, response.length or 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2].replace("*", "0"))) if found else (0, 0)


def _receive(what: Wanted, response: http.client.HTTPResponse, part: Path) -> Iterator[tuple[int, int]]:
    """Write the answer behind what `part` holds, or over it, and check the whole."""
    done, total = _extent(response)
    total = total or what.n_bytes
    changed = f"what is there has changed: find the right file and put it at {part.with_suffix('')}"
    if what.n_bytes and total != what.n_bytes:
        raise DataError(f"{what.url}: has {total:,} bytes, {what.n_bytes:,} are needed; {changed}")
    page = f"{what.url}: sends a web page instead of the file; {by_hand(part.with_suffix(''))}"
    is_page = False
    with part.open("ab" if done else "wb") as file:
        check_free(part.parent, total - done)
        digest = hash_of(part, what.algorithm)
        yield done, total
        while block := _read(what, response, done, total):
            if not done:
                is_page = block.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))
            if is_page and not what.checksum:
                raise DataError(page)
            if 0 < total < done + len(block):
                raise DataError(f"{what.url}: sends more than the {total:,} bytes that are needed; {changed}")
            file.write(block)
            digest.update(block)
            done += len(block)
            yield done, total
    found = digest.hexdigest()
    if not found.startswith(what.checksum):
        part.unlink()
        if is_page:
            raise DataError(page)
        where = f"{what.url}: its {what.algorithm} is {found}, {what.checksum} is needed"
        raise DataError(f"{where}; the same command begins anew; where that ends the same way, {changed}")


def _read(what: Wanted, response: http.client.HTTPResponse, done: int, total: int) -> bytes:
    try:
        block = response.read(BLOCK_BYTES)
        if block or done >= total:
            return block
        why = "the connection was closed"
    except (OSError, http.client.HTTPException) as problem:
        why = _reason(problem)
    of = f"of {total:,} " if total else ""
    again = "goes on from there" if what.checksum else "begins anew"
    raise DataError(f"{what.url}: {done:,} {of}bytes arrived ({why}); the same command {again}")
