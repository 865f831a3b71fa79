"""What has been added to a result file since it was last written: a line of JSON for each chunk.

A line is kept by whoever has the file locked, and read when the file is continued. One that was cut off, or does not
follow from what is there, ends the journal: no episode is taken from it that would not be computed again the same.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import FewshotError
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.files.atomic import read_file
from fewshot_bn.results.reading import CHECKSUM, DAMAGE, MOST_BYTES, checksum_of, contradiction, wrong_runs
from fewshot_bn.results.result import Result, Run


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk that begins with episode `start`; `rows` is the fingerprint of its episodes, `run` who has added it."""

    start: int
    outcome: Outcome
    rows: str
    run: Run


def journal_of(path: Path) -> Path:
    """The journal of a result file."""
    return path.with_name(f".{path.name}.journal")


def append(journal: Path, entry: Entry) -> None:
    """Raises `OSError`."""
    content = asdict(entry)
    line = json.dumps({**content, CHECKSUM: checksum_of(content["outcome"])}, separators=(",", ":")).encode() + b"\n"
    with journal.open("ab") as file:
        file.write(line)


def replayed(journal: Path, result: Result, first: Callable[[int], Episodes]) -> Result:
    """`result` with what the journal adds to it; `first(n)` are its first n episodes."""
    entries = list(_entries(journal))
    try:
        episodes = first(len(result) + sum(len(entry.outcome.correct) for entry in entries)) if entries else None
    except FewshotError:  # there are not so many
        return result
    for entry in entries:
        start, stop = len(result), len(result) + len(entry.outcome.correct)
        earlier = [run for run in result.runs if run.start < entry.run.start]  # the same run was shorter before
        longer = replace(result.extended(entry.outcome), runs=(*earlier, entry.run))
        alone = replace(longer[start:], runs=(replace(entry.run, start=0, stop=stop - start),))
        try:
            fits = not contradiction(alone) and not any(wrong_runs(longer))
        except DAMAGE:
            return result
        if not fits or entry.start != start or episodes is None or episodes[start:stop].fingerprint != entry.rows:
            return result
        result = longer
    return result


def _entries(journal: Path) -> Iterator[Entry]:
    """The whole lines; none of a journal that is not there or cannot be read."""
    if not os.path.lexists(journal):
        return
    try:
        for line in read_file(journal, MOST_BYTES).splitlines(keepends=True):
            content = json.loads(line) if line.endswith(b"\n") else {}
            if content[CHECKSUM] != checksum_of(content["outcome"]):
                return
            chunk = content["outcome"]
            lists = {name: tuple(chunk[name]) for name in ("correct", "converged", "steps")}
            measures = {name: tuple(values) for name, values in chunk["measures"].items()}
            outcome = Outcome(**lists, seconds=chunk["seconds"], measures=measures)
            yield Entry(content["start"], outcome, content["rows"], Run(**content["run"]))
    except (*DAMAGE, OSError, RecursionError):
        return
