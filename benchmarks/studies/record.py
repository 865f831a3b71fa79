"""The record of a study: what its result files hold of every candidate in every cell, in one compressed file.

record.npz has a column for each field of `Run`, with a value for each run, or for each of its episodes, one run after
another. numpy reads it without pickle; `read` gives the runs back.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from numpy import ndarray

from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Result

NAME = "record.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A candidate on the episodes 0 to n-1 of a cell.

    `settings` are JSON. `ece` is the expected calibration error of all queries. `seconds` are those of an episode, and
    the only thing that a run of a stage of costs has to say. `finite`: whether all scores were.
    """

    stage: str
    dataset: str
    backbone: str
    n_support: int
    seed: int
    candidate: str
    settings: str
    device: str
    n_queries: int
    ece: float
    seconds: float
    correct: UInt16[ndarray, "n"]
    nll: Float32[ndarray, "n"]
    converged: Bool[ndarray, "n"]
    finite: Bool[ndarray, "n"]

    @property
    def accuracies(self) -> list[float]:
        return (self.correct / self.n_queries).tolist()


OF_EPISODES = ("correct", "nll", "converged", "finite")


def record(folder: Path) -> list[Run]:
    """Write record.npz of the result files in the subfolders of `folder`, which are named as the stages are."""
    runs = [run_of(path.parent.name, read_result(path)) for path in sorted(folder.glob("*/*.json"))]
    write(folder / NAME, runs)
    return runs


def run_of(stage: str, result: Result) -> Run:
    key, ece, nan = result.key, result.pooled("calibration_error"), float("nan")
    return Run(
        stage,
        dataset=key["dataset"]["name"],
        backbone=key["backbone"]["name"],
        n_support=result.shape["n_support"],
        seed=key["seed"],
        candidate=result.mode,
        settings=json.dumps(key["adapter"]["settings"]),
        device=", ".join(dict.fromkeys(run.device for run in result.runs)),
        n_queries=result.n_queries,
        ece=nan if ece is None else ece,
        seconds=result.seconds_per_episode,
        correct=np.array(result.correct, np.uint16),
        nll=np.array([nan if nll is None else nll for nll in result.measures["nll"]], np.float32),
        converged=np.array(result.converged),
        finite=np.array([min(predicted) >= 0 for predicted in result.measures["predicted"]]),
    )


def write(path: Path, runs: Sequence[Run]) -> None:
    columns = {name: [getattr(run, name) for run in runs] for name in Run.__annotations__}
    joined = {name: np.concatenate(v) if name in OF_EPISODES else np.array(v) for name, v in columns.items()}
    np.savez_compressed(path, n_episodes=[len(correct) for correct in columns["correct"]], **joined)


def read(path: Path) -> list[Run]:
    with np.load(path, allow_pickle=False) as file:
        ends = np.cumsum(file["n_episodes"])[:-1]
        names = Run.__annotations__
        columns = [np.split(file[n], ends) if n in OF_EPISODES else file[n].tolist() for n in names]
    return [Run(*values) for values in zip(*columns, strict=True)]
