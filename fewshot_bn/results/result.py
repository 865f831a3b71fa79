"""Results: what happened in every episode, with everything needed to do it again, and how a result file is read.

One JSON file stands for one (dataset, backbone, adapter, shape, seed, settings), its *identity*; result_files.py writes
it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.evaluation.metrics import expected_calibration_error
from fewshot_bn.results.key import Identity

FORMAT = 3  # format 1 had no measures, format 2 no predictions


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
    """Correct queries, convergence and adaptation steps of episodes 0 .. n-1, and the fingerprint of their rows.

    `measures` are further values by name, one for each episode: see `Outcome`.
    """

    identity: Identity
    correct: tuple[int, ...] = ()
    converged: tuple[bool, ...] = ()
    steps: tuple[int, ...] = ()
    measures: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    episodes: str = ""
    runs: tuple[Run, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.correct)

    def __getitem__(self, part: slice) -> "Result":
        return replace(
            self,
            correct=self.correct[part],
            converged=self.converged[part],
            steps=self.steps[part],
            measures={name: values[part] for name, values in self.measures.items()},
            episodes="",
        )

    def extended(self, outcome: Outcome, *, episodes: str) -> "Result":
        """With some episodes more; `episodes` is the fingerprint of all."""
        return replace(
            self,
            correct=(*self.correct, *outcome.correct),
            converged=(*self.converged, *outcome.converged),
            steps=(*self.steps, *outcome.steps),
            measures={name: (*self.measures.get(name, ()), *more) for name, more in outcome.measures.items()},
            episodes=episodes,
        )

    @property
    def accuracies(self) -> list[float]:
        """Fraction of correct queries of each episode."""
        return [n / self.n_queries for n in self.correct]

    @property
    def n_queries(self) -> int:
        """Queries of an episode."""
        shape = self.identity["shape"]
        n: int = shape["n_way"] * shape["n_query"]
        return n

    @property
    def nll(self) -> float | None:
        """Mean negative log-likelihood of the queries; None where a record is too old to say."""
        values = self.measures.get("nll", ())
        return sum(values) / len(values) if values else None

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of the queries; None where a record is too old to say."""
        gaps = self.measures.get("gaps", ())
        return expected_calibration_error(gaps, self.n_queries) if gaps else None

    @property
    def seconds_per_episode(self) -> float:
        return sum(run.seconds for run in self.runs) / max(1, sum(run.stop - run.start for run in self.runs))


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
            identity=content["identity"],
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
