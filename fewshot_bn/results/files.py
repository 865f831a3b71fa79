"""Result files: one JSON file per key, written chunk by chunk, resumed, locked, replaced atomically.

Episodes are an endless list of which a file holds the first n, so a killed run goes on where it stopped, and asking for
more episodes adds to the file. It is replaced atomically after every chunk and locked while a run writes to it.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.metrics import METRICS, metrics_of
from fewshot_bn.files.atomic import locked, replace_file
from fewshot_bn.results.key import Key, file_name
from fewshot_bn.results.result import ManyShotResult, Result, Run
from fewshot_bn.results.statistics import estimate

FORMAT = 3  # format 1 had no measures, format 2 no predictions
MANY_SHOT_FORMAT = "many-shot 1"


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
    """The file of one result, held by this process; `result` is what it says."""

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
def open_result(folder: Path, key: Key, first: Callable[[int], Episodes]) -> Iterator[ResultFile]:
    """The result file of `key` in `folder`, new or continued, and held; `first(n)` are its first n episodes.

    Raises `ResultError` where the file is damaged or speaks of something else.
    """
    with held(folder, key) as path:
        result = read_to_go_on(path) if path.exists() else Result(key)
        check_same(path, result.key, key)
        if len(result) and result.episodes != first(len(result)).fingerprint:
            raise ResultError(f"{path}: its episodes are not those of this dataset and seed; move it away")
        yield ResultFile(path, result)


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
    accuracy = estimate(result.accuracies)
    content = {
        "format": FORMAT,
        "summary": {
            "n_episodes": len(result),
            "accuracy": accuracy.mean,
            "ci95_half_width": accuracy.half_width if len(result) > 1 else None,
            "not_converged": result.converged.count(False),
            **{name: result.pooled(name) for name in metrics_of("episodes")},
        },
        "identity": result.key,
        "correct": result.correct,
        "converged": result.converged,
        "steps": result.steps,
        "measures": result.measures,
        "episodes": result.episodes,
        "runs": [asdict(run) for run in result.runs],
    }
    write_json(path, content)


def write_many_shot(path: Path, result: ManyShotResult) -> None:
    """Raises `ResultError` where that fails."""
    content = asdict(result)
    write_json(path, {"format": MANY_SHOT_FORMAT, "identity": content.pop("key"), **content})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A line for each key, replaced atomically. Raises `ResultError` where that fails, and leaves what was there."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    try:
        replace_file(path, f"{{\n{lines}\n}}\n".encode())
    except OSError as problem:
        kept = "what it held before is still there" if path.exists() else "nothing was kept"
        raise ResultError(f"{path}: cannot be written: {problem.strerror}; {kept}") from problem


def read_to_go_on(path: Path) -> Result:
    """As `read_result`; a record of an older format, which lacks predictions, is a `ResultError` too."""
    result = read_result(path)
    if len(result) and "predicted" not in result.measures:
        raise ResultError(f"{path}: is of an older format, which cannot be continued; move it away")
    return result


def read_result(path: Path) -> Result:
    """Read a result file. Raises `ResultError` where it is not a whole result file of this format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise ResultError(f"{path}: not a whole result file (half-written or damaged); move it away") from problem
    try:
        if content["format"] not in range(1, FORMAT + 1):
            raise ResultError(f"{path}: is of format {content['format']}, this version reads formats 1 to {FORMAT}")
        result = Result(
            key=content["identity"],
            correct=tuple(content["correct"]),
            converged=tuple(content["converged"]),
            steps=tuple(content["steps"]),
            measures={name: tuple(values) for name, values in content.get("measures", {}).items()},
            episodes=content["episodes"],
            runs=tuple(Run(**run) for run in content["runs"]),
        )
        fits = _fits_together(result)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ResultError(f"{path}: not a result file, or a damaged one ({problem}); move it away") from problem
    if not fits:
        raise ResultError(f"{path}: damaged: its episodes do not fit together; move it away")
    return result


def _fits_together(result: Result) -> bool:
    """Whether counts are possible, lists of one length, and the runs follow each other over all episodes."""
    ends = [0, *(run.stop for run in result.runs)]
    return (
        len(result.correct) == len(result.converged) == len(result.steps) == ends[-1]
        and all(type(n) is int and 0 <= n <= result.n_queries for n in result.correct)
        and all(type(value) is bool for value in result.converged)
        and all(type(n) is int and n >= 0 for n in result.steps)
        and all(len(values) == len(result) for values in result.measures.values())
        and all(value is None or np.isfinite(value).all() for values in result.measures.values() for value in values)
        and [run.start for run in result.runs] == ends[:-1]
        and all(0 <= run.seconds < math.inf for run in result.runs)
    )


def read_many_shot(path: Path) -> ManyShotResult:
    """Read a result file. Raises `ResultError` where it is not a whole one of this format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != MANY_SHOT_FORMAT:
            raise ResultError(f"{path}: is of another format than {MANY_SHOT_FORMAT}; move it away")
        content["key"] = content["identity"]
        result = ManyShotResult(**{field.name: content[field.name] for field in fields(ManyShotResult)})
        whole = _is_whole(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ResultError(f"{path}: cannot be read as a many-shot result ({problem}); move it away") from problem
    if not whole:
        raise ResultError(f"{path}: damaged: its parts do not fit together; move it away")
    return result


def _is_whole(result: ManyShotResult) -> bool:
    """Whether scores are fractions, every C has its scores and the chosen one is among them."""
    metrics = result.test.keys()
    scores = [result.test, *({metric: point[metric] for metric in metrics} for point in result.path)]
    return (
        result.metric in metrics <= METRICS.keys()
        and all(0 <= value <= 1 for score in scores for value in score.values())
        and len(result.path) == result.key["adapter"]["settings"]["n_values"]
        and all(type(point["converged"]) is bool for point in result.path)
        and result.C in [point["C"] for point in result.path]
        and len(result.predictions) == result.key["split"]["test"]
    )
