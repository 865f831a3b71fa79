"""One run of the command under --regime many-shot: the path of C, the chosen fit, a table and a result file."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.adapters import with_settings
from fewshot_bn.config import Request
from fewshot_bn.console import progress, speaker
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import Split, split_of
from fewshot_bn.errors import ResultError, UsageError, unknown
from fewshot_bn.evaluation.linear import LinearEvaluation, Samples, Score, score
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.source import Source, compute_features, open_source, subject
from fewshot_bn.results.files import check_folder, write_json
from fewshot_bn.results.key import Identity, check_same, file_name, many_shot_identity
from fewshot_bn.runtime import choose_devices, device_names, versions

FORMAT = 1
METRICS = {"top-1": "top-1", "mean-per-class": "mean per class", "map": "mAP"}
MODES = {"lr": LinearEvaluation()}
OF_EPISODES = (
    *("n_way", "n_support", "n_query", "n_episodes", "episodes", "by_group"),
    *("modes", "baseline", "chunk", "shard"),
)


@dataclass(frozen=True, slots=True)
class ManyShotResult:
    """The chosen C, how every C scored on the validation images, and the score and the predictions of the test images.

    `path` holds the value of C, its validation scores by metric, and whether its fit reached the tolerance.
    `predictions` follow the rows of the test images in ascending order.
    """

    identity: Identity
    metric: str
    path: list[dict[str, Any]]
    C: float
    converged: bool
    test: dict[str, float]
    test_half_widths: dict[str, float]
    predictions: list[int]
    run: dict[str, Any]


def run(request: Request) -> None:
    """Do what `request` says and print the table."""
    keep_freed_memory()
    logging.getLogger("fewshot_bn").setLevel(logging.ERROR if request.quiet else logging.WARNING)
    settings = _settings(request)
    device, *others = choose_devices(request.device)
    if others:
        raise UsageError(f"--device {request.device} names several; --regime many-shot runs on one")
    check_folder(request.output)
    dataset = open_dataset(request.dataset, root=request.data_root, strict=request.strict)
    split = split_of(dataset, request.seed)
    source = open_source(request, dataset, device)
    say = speaker(quiet=request.quiet)
    say(_headline(source, split, request.seed))
    for notice in (*dataset.notices, *source.backbone.notices):
        say(f"note: {notice}")
    identity = many_shot_identity(dataset, source.backbone, ("lr", settings), split=split, seed=request.seed)
    path = request.output / file_name(identity)
    if path.exists():
        result = read_many_shot(path)
        check_same(path, result.identity, identity)
    else:
        compute_features(source, np.arange(len(dataset)), request, say)
        result = _evaluate(settings, source, split, identity, quiet=request.quiet)
        write_json(path, {"format": f"many-shot {FORMAT}", **asdict(result)})
    print(_table(result))
    print(f"result: {path}")


def read_many_shot(path: Path) -> ManyShotResult:
    """Read a result file. Raises `ResultError` where it is not a whole one of this format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != f"many-shot {FORMAT}":
            raise ResultError(f"{path}: is of another format than many-shot {FORMAT}; move it away")
        result = ManyShotResult(**{field.name: content[field.name] for field in fields(ManyShotResult)})
        whole = _whole(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ResultError(f"{path}: cannot be read as a many-shot result ({problem}); move it away") from problem
    if not whole:
        raise ResultError(f"{path}: damaged: its parts do not fit together; move it away")
    return result


def _whole(result: ManyShotResult) -> bool:
    """Whether scores are fractions, every C has its scores and the chosen one is among them."""
    scores = [result.test, *({metric: point[metric] for metric in METRICS} for point in result.path)]
    return (
        result.metric in METRICS
        and all(score.keys() == set(METRICS) and all(0 <= value <= 1 for value in score.values()) for score in scores)
        and len(result.path) == result.identity["adapter"]["settings"]["n_values"]
        and all(type(point["converged"]) is bool for point in result.path)
        and result.C in [point["C"] for point in result.path]
        and len(result.predictions) == result.identity["split"]["test"]
    )


def _settings(request: Request) -> LinearEvaluation:
    default = Request()
    for name in OF_EPISODES:
        if getattr(request, name) not in (getattr(default, name), tuple(MODES)):
            option = "mode" if name == "modes" else name.replace("_", "-")
            raise UsageError(f"--{option} belongs to few-shot episodes; --regime many-shot evaluates mode lr alone")
    for name in request.settings:
        if name not in MODES:
            raise unknown("mode of --regime many-shot", name, MODES)
    return with_settings("lr", MODES["lr"], request.settings.get("lr", {}))


def _samples(source: Source, rows: Int64[ndarray, "n"]) -> Samples:
    dataset = source.images.dataset
    labels = torch.from_numpy(dataset.labels[rows]).to(source.device)
    return Samples(source.features.gather(rows), labels, len(dataset.class_names))


def _evaluate(
    settings: LinearEvaluation, source: Source, split: Split, identity: Identity, *, quiet: bool
) -> ManyShotResult:
    began = time.perf_counter()
    metric = source.images.dataset.metric if settings.metric == "card" else settings.metric
    train, val, test = (_samples(source, rows) for rows in (split.train, split.val, split.test))
    path: list[dict[str, Any]] = []
    with progress("path of C", "value", settings.n_values, quiet=quiet) as bar:
        for C, logits, converged in settings.sweep(train, val):
            path.append({"C": C, **score(logits, val.y).values, "converged": converged})
            bar.update()
    best = max(path, key=lambda point: float(point[metric]))
    logits, converged = settings.fit(train + val, test, best["C"])
    found: Score = score(logits, test.y)
    return ManyShotResult(
        identity=identity,
        metric=metric,
        path=path,
        C=best["C"],
        converged=converged,
        test=found.values,
        test_half_widths=found.half_widths,
        predictions=logits.argmax(-1).tolist(),
        run={"seconds": time.perf_counter() - began, "device": device_names([source.device]), "versions": versions()},
    )


def _headline(source: Source, split: Split, seed: int) -> str:
    origin = "as the files say" if split.official else f"drawn with seed {seed}"
    return (
        f"{subject(source)}; many-shot: {len(split.train):,} training, {len(split.val):,} validation and "
        f"{len(split.test):,} test images, {origin}; {device_names([source.device])}"
    )


def _table(result: ManyShotResult) -> str:
    lines = [f"linear evaluation, C = {result.C:.3g} by {METRICS[result.metric]} on the validation images"]
    for metric, value in sorted(result.test.items(), key=lambda item: item[0] != result.metric):
        half_width = result.test_half_widths.get(metric)
        interval = "" if half_width is None else f" ± {100 * half_width:.2f}"
        lines.append(f"  {METRICS[metric]:<15} {100 * value:.2f}{interval}")
    if edge := _edge(result.path, result.C):
        lines.append(f"  C is the {edge} of its grid: widen it with --set lr.C_{edge[:3]}=")
    n_not_converged = [point["converged"] for point in result.path].count(False) + (not result.converged)
    if n_not_converged:
        lines.append(f"  {n_not_converged} of {len(result.path) + 1} fits did not converge")
    return "\n".join(lines)


def _edge(path: Sequence[dict[str, Any]], C: float) -> str:
    if len(path) == 1:
        return ""
    return {path[0]["C"]: "minimum", path[-1]["C"]: "maximum"}.get(C, "")
