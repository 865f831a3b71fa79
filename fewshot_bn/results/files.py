"""Result files: one JSON file per key, grown chunk by chunk, resumed, locked, replaced atomically.

Episodes are an endless list of which a file holds the first n, so a killed run goes on where it stopped, and asking for
more episodes adds to the file. It is locked while a run writes to it.

To write the whole file after every chunk would cost more and more. So it is written, and brought to the disk, once it
has grown by 5 % or two seconds have passed, and at the end, also at Ctrl-C or an error. The chunks between lie in a
journal beside it (journal.py), for which no disk is waited for: a process that is killed loses the chunk that it is at,
a power cut perhaps what has come since the file was written.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.files.atomic import locked, make_folder, replace_file
from fewshot_bn.results.journal import Entry, append, journal_of, replayed
from fewshot_bn.results.key import Key, file_name
from fewshot_bn.results.reading import CHECKSUM, FORMAT, checksum_of, read_to_go_on
from fewshot_bn.results.result import Result, Run

GROWTH = 1.05
WRITE_S = 2.0
WRITE_SHARE = 20  # times what writing takes is spent on other things


def check_folder(folder: Path) -> None:
    """Make `folder` and raise `ResultError` where no file can be written into it."""
    trial = folder / f".trial-{os.getpid()}"
    try:
        make_folder(folder)
        trial.write_bytes(b"")
        trial.unlink()
    except OSError as problem:
        raise ResultError(
            f"the output folder {folder} cannot be written: {problem.strerror}; choose another with --output"
        ) from problem


@contextlib.contextmanager
def held(folder: Path, key: Key) -> Iterator[Path]:
    """The path of the result file of `key` in `folder`, which no other process writes meanwhile.

    While another run holds it, this one says so in the log and waits. Raises `ResultError` where it cannot be locked.
    """
    path = folder / file_name(key)
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(locked(folder / f".{path.name}.lock", f"another run is writing {path}; waiting for it"))
        except OSError as problem:
            raise ResultError(
                f"{path}: cannot be locked: {problem.strerror}; choose another folder with --output"
            ) from problem
        yield path


class ResultFile:
    """The file of one result, held by this process; `result` is what it says, or will say as soon as it is written.

    `first(n)` are its first n episodes. A chunk that is not worth writing the whole file goes into the journal.
    """

    def __init__(self, path: Path, result: Result, first: Callable[[int], Episodes]) -> None:
        self.path = path
        self.result = result
        self._first = first
        self._earlier = result.runs
        self._n_written = len(result)
        self._due_s = 0.0

    def adopt(self, result: Result) -> None:
        """Write `result`, which others have computed."""
        self.result, self._earlier = result, result.runs
        self._write()

    def add(self, outcome: Outcome, run: Run) -> None:
        """Keep a chunk of episodes more; `run` describes all that this process has added."""
        start = len(self.result)
        self.result = replace(self.result.extended(outcome), runs=(*self._earlier, run))
        if len(self.result) >= GROWTH * self._n_written or time.monotonic() > self._due_s:
            self._write()
        else:
            rows = self._first(len(self.result))[start:].fingerprint
            with _writing(self.path):
                append(journal_of(self.path), Entry(start, outcome, rows, run))

    def complete(self) -> None:
        """Write what the file does not hold yet."""
        if len(self.result) > self._n_written:
            self._write()

    def _write(self) -> None:
        began = time.monotonic()
        n = self._n_written = len(self.result)  # also if it fails: `complete` need not try it again
        self.result = replace(self.result, episodes=self._first(n).fingerprint)
        _write(self.path, self.result)
        with _writing(self.path):
            journal_of(self.path).unlink(missing_ok=True)
        ended = time.monotonic()
        self._due_s = ended + max(WRITE_S, WRITE_SHARE * (ended - began))


@contextlib.contextmanager
def open_result(folder: Path, key: Key, first: Callable[[int], Episodes]) -> Iterator[ResultFile]:
    """The result file of `key` in `folder`, new or continued, and held; `first(n)` are its first n episodes.

    Whatever ends the work on it, what was added is in it. Raises `ResultError` where the file is damaged or speaks of
    something else.
    """
    with held(folder, key) as path:
        result = read_to_go_on(path) if os.path.lexists(path) else Result(key)
        check_same(path, result.key, key)
        if len(result) and result.episodes != first(len(result)).fingerprint:
            raise ResultError(f"{path}: its episodes are not those of this dataset and seed; move it away")
        file = ResultFile(path, result, first)
        longer = replayed(journal_of(path), result, first)
        if len(longer) > len(result):
            file.adopt(longer)
        try:
            yield file
        finally:
            file.complete()


def check_same(path: Path, found: Key, wanted: Key) -> None:
    """Raise `ResultError` where the result in `path` is not the one that is wanted."""
    if found != wanted:
        raise ResultError(
            f"{path}: holds a result of other settings ({difference(found, wanted)}); "
            "move it away or choose another folder with --output"
        )


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first place where two keys differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *found]:
            if found.get(key) != wanted.get(key):
                return difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else str(key))
    return f"{where} is {found!r} there and {wanted!r} here"


def _write(path: Path, result: Result) -> None:
    content = {
        "format": FORMAT,
        "summary": result.summary,
        "identity": result.key,
        "correct": result.correct,
        "converged": result.converged,
        "steps": result.steps,
        "measures": result.measures,
        "episodes": result.episodes,
        "runs": [asdict(run) for run in result.runs],
    }
    write_json(path, content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A line for each key, the last a checksum, replaced atomically.

    Raises `ResultError` where that fails, and leaves what was there.
    """
    content = {**content, CHECKSUM: checksum_of(content)}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    with _writing(path):
        replace_file(path, f"{{\n{lines}\n}}\n".encode())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        kept = "what it held before is still there" if path.exists() else "nothing was kept"
        raise ResultError(f"{path}: cannot be written: {problem.strerror}; {kept}") from problem
