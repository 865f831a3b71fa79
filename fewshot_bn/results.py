"""Result files: what happened in every episode, with everything needed to do it again.

One JSON file per (dataset, backbone, adapter, shape, seed, settings), its *identity*. Episodes are an endless list of
which a file holds the first n, so a killed run goes on where it stopped, and asking for more episodes adds to the
file. It is replaced atomically after every chunk and locked while a run writes to it.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import filelock

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import ResultError
from fewshot_bn.identity import Identity, difference, file_name
from fewshot_bn.statistics import estimate

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Run:
    """One process that added `stop` - `start` episodes, on which software and device, in how many seconds.

    They are the episodes `start` .. `stop` - 1, but in a result that was merged from shards, whose episodes alternate.
    """

    start: int
    stop: int
    seconds: float
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """Correct queries, convergence and adaptation steps of episodes 0 .. n-1, and the fingerprint of their rows."""

    identity: Identity
    correct: tuple[int, ...] = ()
    converged: tuple[bool, ...] = ()
    steps: tuple[int, ...] = ()
    episodes: str = ""
    runs: tuple[Run, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.correct)

    def __getitem__(self, part: slice) -> "Result":
        return replace(
            self, correct=self.correct[part], converged=self.converged[part], steps=self.steps[part], episodes=""
        )

    def extended(
        self, correct: Sequence[int], converged: Sequence[bool], steps: Sequence[int], *, episodes: str
    ) -> "Result":
        """With some episodes more; `episodes` is the fingerprint of all."""
        return replace(
            self,
            correct=(*self.correct, *correct),
            converged=(*self.converged, *converged),
            steps=(*self.steps, *steps),
            episodes=episodes,
        )

    @property
    def accuracies(self) -> list[float]:
        """Fraction of correct queries of each episode."""
        shape = self.identity["shape"]
        return [n / (shape["n_way"] * shape["n_query"]) for n in self.correct]

    @property
    def seconds_per_episode(self) -> float:
        return sum(run.seconds for run in self.runs) / max(1, sum(run.stop - run.start for run in self.runs))


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
def open_result(
    folder: Path, identity: Identity, first: Callable[[int], Episodes], say: Callable[[str], None]
) -> Iterator[ResultFile]:
    """The result file of `identity` in `folder`, new or continued; `first(n)` are its first n episodes.

    While another run writes it, this one says so and waits. Raises `ResultError` where the file is damaged or speaks
    of something else.
    """
    path = folder / file_name(identity)
    lock = filelock.FileLock(folder / f".{path.name}.lock")
    try:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            say(f"note: another run is writing {path}; waiting for it")
            lock.acquire()
    except OSError as problem:
        raise ResultError(
            f"{path}: cannot be locked: {problem.strerror}; choose another folder with --output"
        ) from problem
    try:
        result = read_result(path) if path.exists() else Result(identity)
        if result.identity != identity:
            raise ResultError(
                f"{path}: holds a result of other settings ({difference(result.identity, identity)}); "
                "move it away or choose another folder with --output"
            )
        if len(result) and result.episodes != first(len(result)).fingerprint:
            raise ResultError(f"{path}: its episodes are not those of this dataset and seed; move it away")
        yield ResultFile(path, result)
    finally:
        lock.release()


def read_result(path: Path) -> Result:
    """Read a result file. Raises `ResultError` where it is not a whole result file of this format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise ResultError(f"{path}: not a whole result file (half-written or damaged); move it away") from problem
    try:
        if content["format"] != FORMAT:
            raise ResultError(f"{path}: is of format {content['format']}, this version reads format {FORMAT}")
        result = Result(
            identity=content["identity"],
            correct=tuple(content["correct"]),
            converged=tuple(content["converged"]),
            steps=tuple(content["steps"]),
            episodes=content["episodes"],
            runs=tuple(Run(**run) for run in content["runs"]),
        )
        shape = result.identity["shape"]
        n_queries = shape["n_way"] * shape["n_query"]
        fits = _fits_together(result, n_queries)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ResultError(f"{path}: not a result file, or a damaged one ({problem}); move it away") from problem
    if not fits:
        raise ResultError(f"{path}: damaged: its episodes do not fit together; move it away")
    return result


def _fits_together(result: Result, n_queries: int) -> bool:
    """Whether counts are possible, lists of one length, and the runs follow each other over all episodes."""
    ends = [0, *(run.stop for run in result.runs)]
    return (
        len(result.correct) == len(result.converged) == len(result.steps) == ends[-1]
        and all(type(n) is int and 0 <= n <= n_queries for n in result.correct)
        and all(type(value) is bool for value in result.converged)
        and all(type(n) is int and n >= 0 for n in result.steps)
        and [run.start for run in result.runs] == ends[:-1]
        and all(0 <= run.seconds < math.inf for run in result.runs)
    )


def _write(path: Path, result: Result) -> None:
    accuracy = estimate(result.accuracies)
    content = {
        "format": FORMAT,
        "summary": {
            "n_episodes": len(result),
            "accuracy": accuracy.mean,
            "ci95_half_width": accuracy.half_width if len(result) > 1 else None,
            "not_converged": result.converged.count(False),
        },
        **asdict(result),
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    half_made = path.with_name(f".{path.name}.tmp")
    try:
        with half_made.open("w", encoding="utf-8") as file:
            file.write(f"{{\n{lines}\n}}\n")
            file.flush()
            os.fsync(file.fileno())
        half_made.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            half_made.unlink(missing_ok=True)
        kept = "what it held before is still there" if path.exists() else "nothing was kept"
        raise ResultError(f"{path}: cannot be written: {problem.strerror}; {kept}") from problem
