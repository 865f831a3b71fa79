"""The many-shot regime: a linear classifier on the features of all training images."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters import named
from fewshot_bn.config import ManyShotConfig
from fewshot_bn.datasets.splits import Split, split_of
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.linear import CLASSIFIERS, LinearEvaluation, Samples
from fewshot_bn.evaluation.metrics import measured, metrics_of
from fewshot_bn.events import Progress
from fewshot_bn.experiment.events import Done, Event, Started
from fewshot_bn.experiment.splitting import notes_on_split
from fewshot_bn.inputs.source import Source, compute_features
from fewshot_bn.results.files import check_same, held, write_many_shot
from fewshot_bn.results.key import Key, many_shot_key
from fewshot_bn.results.reading import read_many_shot
from fewshot_bn.results.result import ManyShotResult
from fewshot_bn.results.statistics import Estimate, estimate_of_strata
from fewshot_bn.runtime import device_names, versions


class ManyShot:
    """A config, checked as far as that needs no data. Raises `UsageError`."""

    def __init__(self, config: ManyShotConfig) -> None:
        self._config = config
        self._classifiers = named(config.modes, CLASSIFIERS, "mode of --regime many-shot")

    def check_devices(self, devices: Sequence[torch.device]) -> None:
        """Raises `UsageError` where there are several."""
        if len(devices) > 1:
            raise UsageError(f"--device {self._config.device} names several; --regime many-shot runs on one")

    def open(self, source: Source, devices: Sequence[torch.device]) -> tuple[Started, list["Job"]]:
        """What is about to be done. Raises `DataError` where the images cannot be split."""
        dataset, seed = source.images.dataset, self._config.seed
        split = split_of(dataset, seed, self._config.split)
        jobs = [
            Job(
                mode,
                classifier,
                many_shot_key(dataset, source.backbone, (mode, classifier), split=split, seed=seed),
                split,
                source,
                self._config,
            )
            for mode, classifier in self._classifiers.items()
        ]
        return Started(f"{source.subject}; {_plan(split)}; {device_names(devices)}"), jobs

    def notices(self, source: Source) -> Iterator[str]:
        """What is odd about the split. Raises `DataError` if it is `strict` and its parts share images."""
        dataset, config = source.images.dataset, self._config
        yield from notes_on_split(dataset, split_of(dataset, config.seed, config.split), config)


def _plan(split: Split) -> str:
    """Which images are for what, in words."""
    return (
        f"many-shot: {len(split.train):,} training, {len(split.val):,} validation and {len(split.test):,} test "
        f"images, {split.origin}"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One classifier on one split: `run` gives its result."""

    title: str
    classifier: LinearEvaluation
    key: Key
    split: Split
    source: Source
    config: ManyShotConfig

    def run(self) -> Iterator[Event]:
        """Take the result from its file, or compute it; the last event is `Done`."""
        with held(self.config.output, self.key) as path:
            if path.exists():
                result = read_many_shot(path)
                check_same(path, result.key, self.key)
            else:
                yield from compute_features(self.source, np.arange(len(self.source.images.dataset)))
                result = yield from self._evaluate()
                write_many_shot(path, result)
        yield Done(self.title, result, path)

    def _evaluate(self) -> Generator[Event, None, ManyShotResult]:
        began = time.perf_counter()
        wanted = self.classifier.metric
        metric = self.source.images.dataset.metric if wanted == "card" else wanted
        train, val, test = (self._samples(rows) for rows in (self.split.train, self.split.val, self.split.test))
        path: list[dict[str, Any]] = []
        for C, logits, converged in self.classifier.sweep(train, val):
            path.append({"C": C, **scores(logits, val.y), "converged": converged})
            yield Progress("path of C", "value", len(path), self.classifier.n_values)
        best = max(path, key=lambda point: float(point[metric]))
        logits, converged = self.classifier.fit(train + val, test, best["C"])
        intervals = estimates(logits, test.y)
        seconds = time.perf_counter() - began
        return ManyShotResult(
            key=self.key,
            metric=metric,
            path=path,
            C=best["C"],
            converged=converged,
            test=scores(logits, test.y),
            test_half_widths={name: found.half_width for name, found in intervals.items()},
            test_intervals={name: [found.low, found.high] for name, found in intervals.items()},
            predictions=logits.argmax(-1).tolist(),
            run={"seconds": seconds, "device": device_names([self.source.device]), "versions": versions()},
        )

    def _samples(self, rows: Int64[ndarray, "n"]) -> Samples:
        dataset = self.source.images.dataset
        labels = torch.from_numpy(dataset.labels[rows]).to(self.source.device)
        return Samples(self.source.features.gather(rows), labels, len(dataset.class_names))


def scores(logits: Float[Tensor, "n way"], y: Int64[Tensor, "n"]) -> dict[str, float]:
    """Fractions by metric: the images are to a metric as the queries of one episode."""
    found = measured("split", logits[None], logits[None].argmax(-1), y[None])
    return {name: float(found[metric.kept]) for name, metric in metrics_of("split").items()}


def estimates(logits: Float[Tensor, "n way"], y: Int64[Tensor, "n"]) -> dict[str, Estimate]:
    """With 95 % intervals, of the metrics that have one."""
    right, labels = (logits.argmax(-1) == y).double().cpu().numpy(), y.cpu().numpy()
    found = {
        name: estimate_of_strata(metric.strata(right, labels))
        for name, metric in metrics_of("split").items()
        if metric.strata
    }
    return {name: estimate for name, estimate in found.items() if estimate is not None}
