"""Result files of several runs, found by path.

A task is what is asked of every mode and backbone alike: the same episodes, or the same split of a dataset. A backbone
is its name, its weights and its fingerprint, whatever its images are resized to.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from fewshot_bn.adapters import ADAPTERS
from fewshot_bn.errors import ResultError, some
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.files.atomic import digest, read_file
from fewshot_bn.results.key import Key
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.many_shot_files import read_many_shot
from fewshot_bn.results.reading import DAMAGE, MOST_BYTES, read_result
from fewshot_bn.results.result import Result, drawn


class BackboneId(NamedTuple):
    """What tells backbones apart."""

    name: str
    weights: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Found:
    """A result and its file; `task` is a digest of what decides its task."""

    path: Path
    result: Result | ManyShotResult
    task: str
    mode: str
    backbone: BackboneId

    @property
    def key(self) -> Key:
        return self.result.key

    @property
    def settings(self) -> dict[str, Any]:
        """Those of its adapter; those that were added later and are not in its key have their defaults."""
        adapter = (ADAPTERS if isinstance(self.result, Result) else CLASSIFIERS).get(self.mode)
        known = fields(adapter) if adapter is not None else ()
        later = {field.name: field.default for field in known if field.metadata.get("later")}
        return {**later, **self.key["adapter"]["settings"]}


def find_results(paths: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """Results of both kinds in these files and below these folders, and notes on files that are passed over.

    Folders are searched for `*.json`; those that are hidden are not, and other JSON files are passed over, as are
    shards. Raises `ResultError` for a result file that is damaged or holds no episode, a file that is named and is no
    result, or if there are no results at all.
    """
    files = {path.resolve(): (path, is_named) for path, is_named in _files(paths)}
    read = {path: _read(path, is_named=is_named) for path, is_named in sorted(files.values())}
    others = [path for path, one in read.items() if one is None]
    shards = [path for path, one in read.items() if one is not None and "shard" in one.key]
    found = [one for one in read.values() if one is not None and "shard" not in one.key]
    notes = [f"left out, as they are no results: {some(others)}"] if others else []
    if shards:
        notes += [f"left out, as they are shards, which their command without --shard merges: {some(shards)}"]
    if not found:
        why = f"; {'; '.join(notes)}" if notes else ""
        raise ResultError(f"no result file (*.json) in {some(paths)}; name the --output folder of runs, or files{why}")
    return found, notes


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it is named itself; one that is both comes last as that, which counts."""
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*.json") if file.is_file())
            yield from ((file, False) for file in inside if not _is_hidden(file.relative_to(path)))
        elif not path.exists():
            raise ResultError(f"{path}: there is no such file or folder")
    yield from ((path, True) for path in paths if not path.is_dir())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(path: Path, *, is_named: bool) -> Found | None:
    """The result in a file; None for JSON of another kind, unless the file is named."""
    try:
        content = json.loads(read_file(path, MOST_BYTES))
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise ResultError(f"{path}: not a whole result file (half-written or damaged); move it away") from problem
    if isinstance(content, dict) and {"format", "identity"} <= content.keys():
        is_many_shot = isinstance(content["format"], str)
        return _found(path, read_many_shot(path) if is_many_shot else read_result(path))
    if is_named:
        raise ResultError(f"{path}: is no result file; name those that python -m fewshot_bn.eval writes")
    return None


def _found(path: Path, result: Result | ManyShotResult) -> Found:
    if isinstance(result, Result) and not len(result):
        raise ResultError(f"{path}: holds no episode; move it away")
    try:
        key = result.key
        backbone = BackboneId(*(key["backbone"][part] for part in BackboneId._fields))
        names = [key["dataset"]["name"], key["dataset"]["fingerprint"], key["adapter"]["name"], *backbone]
        if not all(type(name) is str for name in names) or type(key["adapter"]["settings"]) is not dict:
            raise ValueError("names that are no texts, or settings that are none")
        task = digest([json.dumps(drawn(key), sort_keys=True)])
    except DAMAGE as problem:
        why = f"its key has no {problem}" if isinstance(problem, KeyError) else f"its key has {problem}"
        raise ResultError(f"{path}: does not say what it is of: {why}; move it away") from problem
    return Found(path, result, task, str(key["adapter"]["name"]), backbone)
