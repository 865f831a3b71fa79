"""What happens in an experiment, besides `Note` and `Progress` of the work that it is made of."""

from dataclasses import dataclass
from pathlib import Path

from fewshot_bn.events import Note, Progress
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Started:
    """Data and backbone are open; `headline` says in one line what is about to be done."""

    headline: str


@dataclass(frozen=True, slots=True)
class Adapting(Progress):
    """So many episodes are done, with this accuracy (None: none yet); they are kept in the result file `kept_in`."""

    accuracy: Estimate | None
    kept_in: Path


@dataclass(frozen=True, slots=True)
class Done:
    """One result is complete and lies in the file `path`."""

    title: str
    result: Result | ManyShotResult
    path: Path


Event = Started | Note | Progress | Done
