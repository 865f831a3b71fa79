"""Result files, read and checked against themselves: what was edited or damaged is not taken for a result.

What can be told from the episodes is checked first, since that can be said in words; a checksum then covers the rest
of what came out of them, such as steps and likelihoods, but not how long it took, so that two runs give the same file
but for their times. Files of before there was a checksum have none.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.files.atomic import digest, read_file
from fewshot_bn.results.key import Key
from fewshot_bn.results.result import Result, Run
from fewshot_bn.results.statistics import student

FORMAT = 3  # format 1 had no measures, format 2 no predictions
CHECKSUM = "checksum"
INTERVALS = ("test_half_widths", "test_intervals")
OUTCOMES = ("correct", "converged", "steps", "measures", "path", "C", "test", *INTERVALS, "predictions")
LATER = ("worst_group", "tests")  # of many-shot results that have them
MOST_BYTES = 2**28  # about 700,000 episodes
LONG_S = 1e12
DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def read_to_go_on(path: Path) -> Result:
    """As `read_result`; a record of an older format, which lacks predictions, is a `ResultError` too."""
    result = read_result(path)
    if len(result) and "predicted" not in result.measures:
        raise ResultError(f"{path}: is of an older format, which cannot be continued; move it away")
    return result


def read_result(path: Path) -> Result:
    """Read a result file. Raises `ResultError` where it is not a whole result file of this format."""
    content = json_of(path)
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
        _check_key(result.key)
        problem = contradiction(result) or _other_summary(content.get("summary", {}), result) or other_sum(content)
    except DAMAGE as trouble:
        raise ResultError(
            f"{path}: not a result file, or a damaged one ({shortened(trouble)}); move it away"
        ) from trouble
    if problem:
        raise ResultError(f"{path}: damaged: its episodes do not fit together ({problem}); move it away")
    return result


def json_of(path: Path) -> Any:
    """What a result file holds. Raises `ResultError` where it is no JSON."""
    try:
        return json.loads(read_file(path, MOST_BYTES))
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise ResultError(f"{path}: not a whole result file (half-written or damaged); move it away") from problem


def checksum_of(content: Mapping[str, Any]) -> str:
    """Of what came out, as plain values."""
    names = [*OUTCOMES, *(name for name in LATER if name in content)]
    return digest(json.dumps(content.get(name), sort_keys=True) for name in names)


def other_sum(content: Mapping[str, Any]) -> str:
    """What is wrong with the checksum, if there is one."""
    right = content.get(CHECKSUM) in (None, checksum_of(content))
    return "" if right else "its checksum is that of other values: it was edited or damaged"


def shortened(value: object) -> str:
    """For a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:100]}…"


def _check_key(key: Key) -> None:
    """Raise `ValueError`, or whatever comes of it, where a part that others rely on is of another kind."""
    names = [key[part]["name"] for part in ("dataset", "backbone", "adapter")]
    own_shapes = not key["shape"] and key["episodes"]["kind"] in ("meta-dataset", "list")
    sizes = [] if own_shapes else [key["shape"][part] for part in ("n_way", "n_support", "n_query")]
    if not all(type(name) is str for name in names):
        raise ValueError("dataset, backbone and adapter have no names")
    if not all(type(size) is int and 1 <= size < 2**31 for size in sizes) or len(key["shape"]) != len(sizes):
        raise ValueError(f"its shape is {key['shape']}")
    if type(key["seed"]) is not int or not re.fullmatch(r"\d{1,9}/\d{1,9}", key.get("shard", "1/1"), re.ASCII):
        raise ValueError("its seed or its shard is none")


def contradiction(result: Result) -> str:
    """What of it cannot be, "" for a result that may be one. Raises one of `DAMAGE` where values are of odd kinds."""
    return next(_contradictions(result), "")


def _contradictions(result: Result) -> Iterator[str]:
    n = len(result)
    if any(len(values) != n for values in (result.converged, result.steps, *result.measures.values())):
        yield f"not every list is of {n} values"
    if _wrong_sizes(result):
        yield "not every episode says how many images its classes have"
        return
    n_queries = result.query_counts
    if not all(type(k) is int and 0 <= k <= most for k, most in zip(result.correct, n_queries, strict=True)):
        yield f"correct is not from 0 to {max(n_queries)} everywhere"
    if not all(type(value) is bool for value in result.converged):
        yield "converged is not true or false everywhere"
    if not all(type(count) is int and 0 <= count < 2**63 for count in result.steps):
        yield "steps are not whole numbers"
    values = (value for kept in result.measures.values() for value in kept)
    if not all(value is None or np.isfinite(value).all() for value in values):
        yield "not all measures are numbers"
    if not all(math.isfinite(result.pooled(name) or 0) for name in metrics_of("episodes")):
        yield "not all measures are numbers"
    for name in (metric.kept for metric in metrics_of("episodes").values() if metric.draws):
        if not all(value is None or 0 <= value <= 1 for value in result.measures.get(name, ())):
            yield f"{name} is not from 0 to 1 everywhere"
    yield from _wrong_counts(result)
    yield from wrong_runs(result)


def _wrong_sizes(result: Result) -> bool:
    """Whether an episode that may vary does not say how many images each of its classes has."""
    sides = [result.by_class(role) for role in ("support", "query")] if result.varies else []
    return any(len(side) != len(result) for side in sides) or not all(
        len(support) == len(query) > 1
        and all(type(k) is int and k >= 0 for k in (*support, *query))
        and all(support)
        and any(query)
        for support, query in zip(*sides, strict=True)
    )


def _wrong_counts(result: Result) -> Iterator[str]:
    """Episodes of which more or less was predicted as it is than is counted as correct."""
    by_class = result.by_class("query") if result.varies else itertools.repeat(None)
    kept = zip(result.correct, result.measures.get("predicted", ()), result.query_counts, by_class, strict=False)
    for number, (correct, predicted, n_queries, counts) in enumerate(kept):
        if predicted is None:
            continue
        n_way = len(counts) if counts else result.shape["n_way"]
        if len(predicted) != n_queries or not all(type(k) is int and -1 <= k < n_way for k in predicted):
            yield f"episode {number}: what is predicted is not a place from 0 to {n_way - 1} for each of its queries"
            continue
        places = np.repeat(np.arange(n_way), counts or result.shape["n_query"])  # one class after another
        right = int((places == predicted).sum())
        if right != correct:
            yield f"episode {number}: correct is {correct}, but {right} are predicted right"


def wrong_runs(result: Result) -> Iterator[str]:
    """What of its runs cannot be."""
    ends = [0, *(run.stop for run in result.runs)]
    if ends[-1] != len(result) or [run.start for run in result.runs] != ends[:-1]:
        yield "its runs do not follow each other over all episodes"
    if not all(type(run.device) is str and type(run.versions) is dict for run in result.runs):
        yield "its runs lack a device or versions"
    if not all(0 <= run.seconds < LONG_S for run in result.runs):
        yield "its runs took no time that can be"


def _other_summary(said: Any, result: Result) -> str:
    """Where the summary says something else than the episodes, as far as it speaks of their accuracy."""
    names = ("n_episodes", "accuracy", "ci95_half_width", "not_converged")
    found = result.summary if len(result) else {}
    for name in (name for name in names if name in said and name in found):
        one, others = said[name], [found[name]]
        if name == "ci95_half_width" and len(result) > 1:  # older results have Student's everywhere
            others.append(student(result.accuracies).half_width)
        if not any(_same(one, other) for other in others):
            return f"{name} is {shortened(one)} in the summary, {others[0]} of the episodes"
    return ""


def _same(one: Any, other: Any) -> bool:
    return one is other if one is None or other is None else math.isclose(one, other, abs_tol=1e-9)
