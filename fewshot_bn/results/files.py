"""Result files: written chunk by chunk, resumed, locked, replaced atomically.

Episodes are an endless list of which a file holds the first n, so a killed run goes on where it stopped, and asking for
more episodes adds to the file. It is replaced atomically after every chunk and locked while a run writes to it.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import ResultError
from fewshot_bn.files.atomic import locked, replace_file
from fewshot_bn.results.key import Identity, check_same, file_name
from fewshot_bn.results.result import FORMAT, Result, Run, read_to_go_on
from fewshot_bn.results.statistics import estimate


def check_folder(folder: Path) -> None:
    """Make `folder` and raise `ResultError` where no file can be written into it."""
    trial = folder / f".trial-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"")
        trial.unlink()
    except OSError as problem:
        raise ResultError(
            f"the output folder {folder} cannot be written: {problem.strerror}; choose another with --output"
        ) from problem


class ResultFile:
    """One result file, held by this process; `result` is what it says."""

    def __init__(self, path: Path, result: Result) -> None:
        self.path = path
        self.result = result
        self._earlier = result.runs

    def adopt(self, result: Result) -> None:
        """Write `result`, which others have computed."""
        self.result, self._earlier = result, result.runs
        _write(self.path, result)

    def write(self, result: Result, run: Run) -> None:
        """Write `result`; `run` describes all that this process has added."""
        self.result = replace(result, runs=(*self._earlier, run))
        _write(self.path, self.result)


@contextlib.contextmanager
def open_result(folder: Path, identity: Identity, first: Callable[[int], Episodes]) -> Iterator[ResultFile]:
    """The result file of `identity` in `folder`, new or continued; `first(n)` are its first n episodes.

    While another run writes it, this one logs that and waits. Raises `ResultError` where the file is damaged or speaks
    of something else.
    """
    path = folder / file_name(identity)
    lock = locked(folder / f".{path.name}.lock", f"another run is writing {path}; waiting for it")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except OSError as problem:
            raise ResultError(
                f"{path}: cannot be locked: {problem.strerror}; choose another folder with --output"
            ) from problem
        result = read_to_go_on(path) if path.exists() else Result(identity)
        check_same(path, result.identity, identity)
        if len(result) and result.episodes != first(len(result)).fingerprint:
            raise ResultError(f"{path}: its episodes are not those of this dataset and seed; move it away")
        yield ResultFile(path, result)


def _write(path: Path, result: Result) -> None:
    accuracy = estimate(result.accuracies)
    content = {
        "format": FORMAT,
        "summary": {
            "n_episodes": len(result),
            "accuracy": accuracy.mean,
            "ci95_half_width": accuracy.half_width if len(result) > 1 else None,
            "not_converged": result.converged.count(False),
            "nll": result.nll,
            "calibration_error": result.calibration_error,
        },
        **asdict(result),
    }
    write_json(path, content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A line for each key, replaced atomically. Raises `ResultError` where that fails, and leaves what was there."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    try:
        replace_file(path, f"{{\n{lines}\n}}\n".encode())
    except OSError as problem:
        kept = "what it held before is still there" if path.exists() else "nothing was kept"
        raise ResultError(f"{path}: cannot be written: {problem.strerror}; {kept}") from problem
