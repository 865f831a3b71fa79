"""What happens in a long piece of work, as values: whoever asked for the work draws, prints or ignores them.

`experiment.run` yields all of them; what it is made of (decoding, features, downloads) yields `Progress` and `Note`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_bn.results.result import ManyShotResult, Result
    from fewshot_bn.results.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Started:
    """A run has opened its data and its backbone; `headline` says in one line what it is about to do."""

    headline: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of, such as "a subset: 1,000 of 27,000 images"."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of the piece of work `title` are done (a total of None: not known).

    Where the work is to adapt to episodes, `accuracy` is that of those so far, and `kept_in` is their result file.
    """

    title: str
    unit: str
    done: int
    total: int | None
    accuracy: "Estimate | None" = None
    kept_in: Path | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """One result is complete and lies in the file `path`."""

    title: str
    result: "Result | ManyShotResult"
    path: Path


Event = Started | Note | Progress | Done
