"""Result files of the many-shot regime, written at once and read again, checked against themselves."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.results.files import write_json
from fewshot_bn.results.many_shot import ManyShotResult, Tested
from fewshot_bn.results.reading import DAMAGE, LATER, json_of, other_sum, shortened

MANY_SHOT_FORMAT = "many-shot 1"
NOT_IN_OLDER: Mapping[str, Any] = {
    "test_intervals": None,
    "labels": None,
    "training": {},
    "trials": [],
    "chosen": {},
    **dict.fromkeys(LATER),
}


def write_many_shot(path: Path, result: ManyShotResult) -> None:
    """Raises `ResultError` where that fails."""
    content = asdict(result)
    for name in LATER:
        if not content[name]:  # so that files without are as they were
            del content[name]
    write_json(path, {"format": MANY_SHOT_FORMAT, "identity": content.pop("key"), **content})


def read_many_shot(path: Path) -> ManyShotResult:
    """Read a result file. Raises `ResultError` where it is not a whole one of this format."""
    try:
        content = json_of(path)
        if content.pop("format") != MANY_SHOT_FORMAT:
            raise ResultError(f"{path}: is of another format than {MANY_SHOT_FORMAT}; move it away")
        found = {**NOT_IN_OLDER, **content, "key": content["identity"]}
        found["tests"] = {name: Tested(**tested) for name, tested in (found["tests"] or {}).items()}
        result = ManyShotResult(**{field.name: found[field.name] for field in fields(ManyShotResult)})
        whole = _is_whole(result) and not other_sum(content)
    except DAMAGE as problem:
        why = f"cannot be read as a many-shot result ({shortened(problem)})"
        raise ResultError(f"{path}: {why}; move it away") from problem
    if not whole:
        raise ResultError(f"{path}: damaged: its parts do not fit together; move it away")
    return result


def _is_whole(result: ManyShotResult) -> bool:
    """Whether scores are fractions, every C has its scores and the chosen one is among them."""
    metrics = result.test.keys()
    points = [{metric: point[metric] for metric in metrics} for point in result.path]
    tests = result.key.get("tests", {})
    return (
        result.metric in metrics <= METRICS.keys()
        and all(0 <= value <= 1 for point in points for value in point.values())
        and len(result.path) == result.key["adapter"]["settings"].get("n_values", len(result.path))
        and all(type(point["converged"]) is bool for point in result.path)
        and result.C in ([point["C"] for point in result.path] or [None])
        and _fits(result.tested(), result.key["split"]["test"])
        and tests.keys() == result.tests.keys()
        and all(tested.test.keys() == metrics for tested in result.tests.values())
        and all(_fits(tested, tests[name]["n_images"]) for name, tested in result.tests.items())
    )


def _fits(tested: Tested, n_images: int) -> bool:
    """Whether scores are fractions within their intervals, and those of so many images."""
    estimates = [tested.estimate(metric) for metric in tested.half_widths]
    return (
        all(0 <= value <= 1 for value in tested.test.values())
        and all(found.low <= found.mean <= found.high for found in estimates if found)
        and {len(tested.predictions), len(tested.labels or tested.predictions)} == {n_images}
        and 0 <= (tested.worst_group or {"accuracy": 0})["accuracy"] <= 1
    )
