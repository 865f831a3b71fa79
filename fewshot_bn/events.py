"""What happens in a long piece of work, as values: whoever asked for the work draws, prints or ignores them.

`experiment.run` yields all of them; what it is made of (decoding, features, downloads) yields `Progress` and `Note`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_bn.results.result import Result


@dataclass(frozen=True, slots=True)
class Started:
    """A run has opened its data and its backbone; `headline` says what it is about to do, in one line."""

    headline: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of, such as "a subset: 1,000 of 27,000 images"."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of the piece of work `title` are done (a total of None: not known).

    `more` is what else there is to say so far, such as the accuracy.
    """

    title: str
    unit: str
    done: int
    total: int | None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """One result is complete and lies in the file `path`."""

    title: str
    result: "Result"
    path: Path


Event = Started | Note | Progress | Done
