"""Shards of a run for job arrays: shard i of k holds the episodes i, i + k, i + 2k, … of the list, counted from 1.

So each shard is an endless list of its own that can be continued, and however far each has come, together they hold a
first part of the whole list.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import ResultError, UsageError
from fewshot_bn.results.journal import journal_of, replayed
from fewshot_bn.results.key import Key, file_name
from fewshot_bn.results.reading import read_to_go_on
from fewshot_bn.results.result import Result, Run

MOST_SHARDS = 1_000_000  # as many as there may be episodes


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `index` of `count`, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def part(self) -> slice:
        """Its episodes within the whole list."""
        return slice(self.index - 1, None, self.count)

    def reach(self, n: int) -> int:
        """How many episodes of the whole list hold the first `n` of this shard."""
        return (n - 1) * self.count + self.index if n else 0


def parse_shard(text: str) -> Shard:
    """`i/k` with i from 1 to k."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
        raise UsageError(
            f"--shard is {text!r}; it must be i/k with i from 1 to k, e.g. 1/8 … 8/8, and k at most {MOST_SHARDS:,}"
        )
    return Shard(int(match[1]), int(match[2]))


def of_shard(key: Key, shard: Shard) -> Key:
    """The key of a shard of the result."""
    return {**key, "shard": str(shard)}


def find_shards(folder: Path, key: Key, first: Callable[[int], Episodes]) -> list[Result]:
    """The results of the shards of `key` that lie in `folder`, of whatever number of shards has come furthest.

    `first(n)` are the first n episodes of the whole list. Of a shard that was killed the journal counts, too.
    Raises `ResultError` for a file that is not what its name says, or of other episodes.
    """
    stem = Path(file_name(key)).stem
    sets: dict[int, list[Result]] = {}
    for path in sorted(folder.glob(f"{stem}_shard*of*.json")):
        result = read_to_go_on(path)
        if "shard" not in result.key or path.name != file_name(result.key):
            raise ResultError(f"{path}: is not the shard that its name says; move it away")
        try:
            shard = parse_shard(str(result.key["shard"]))
        except UsageError as problem:
            raise ResultError(f"{path}: is no shard; move it away ({problem})") from problem
        if result.key != of_shard(key, shard):
            raise ResultError(f"{path}: holds a shard of another result; move it away")
        sets.setdefault(shard.count, []).append(_whole(path, result, shard, first))
    return max(sets.values(), key=lambda results: len(merged(results)), default=[])


def _whole(path: Path, result: Result, shard: Shard, first: Callable[[int], Episodes]) -> Result:
    """`result` with what its journal adds to it, once its episodes are known to be the right ones."""

    def own(n: int) -> Episodes:
        return first(shard.reach(n))[shard.part]

    if len(result) and result.episodes != own(len(result)).fingerprint:
        raise ResultError(f"{path}: its episodes are not those of this dataset and seed; move it away")
    longer = replayed(journal_of(path), result, own)
    return replace(longer, episodes=own(len(longer)).fingerprint) if len(longer) > len(result) else result


def lagging(shards: Sequence[Result]) -> list[str]:
    """Which shards keep what others hold from being merged, in words."""
    count, lengths = _lengths(shards)
    last = max((length - 1) * count + i for i, length in enumerate(lengths))
    return [
        f"{i + 1}/{count} has {length} episodes" if length else f"{i + 1}/{count} is missing"
        for i, length in enumerate(lengths)
        if length * count + i < last
    ]


def merged(shards: Sequence[Result]) -> Result:
    """The first part of the whole list, as far as the shards hold it without a gap; its fingerprint is left open."""
    by_index = {parse_shard(result.key["shard"]).index: result for result in shards}
    count, lengths = _lengths(shards)
    n = min(length * count + i for i, length in enumerate(lengths))
    order = [(by_index[e % count + 1], e // count) for e in range(n)]
    whole = {key: value for key, value in shards[0].key.items() if key != "shard"}
    return Result(
        key=whole,
        correct=tuple(result.correct[place] for result, place in order),
        converged=tuple(result.converged[place] for result, place in order),
        steps=tuple(result.steps[place] for result, place in order),
        measures={
            name: tuple(result.measures[name][place] if name in result.measures else None for result, place in order)
            for name in max(shards, key=len).measures
        },
        runs=_joined([(by_index[i], len(range(i - 1, n, count))) for i in sorted(by_index)]),
    )


def _lengths(shards: Sequence[Result]) -> tuple[int, list[int]]:
    """How many shards there are, and how many episodes each holds."""
    count = parse_shard(shards[0].key["shard"]).count
    lengths = dict.fromkeys(range(1, count + 1), 0)
    lengths.update({parse_shard(result.key["shard"]).index: len(result) for result in shards})
    return count, list(lengths.values())


def _joined(parts: Sequence[tuple[Result, int]]) -> tuple[Run, ...]:
    """The runs that made the first episodes of each shard, one after another, with their share of the time."""
    joined: list[Run] = []
    for result, n in parts:
        for run in result.runs:
            kept = min(run.stop, n) - run.start
            if kept > 0:
                start = joined[-1].stop if joined else 0
                seconds = run.seconds * kept / (run.stop - run.start)
                joined.append(replace(run, start=start, stop=start + kept, seconds=seconds))
    return tuple(joined)
