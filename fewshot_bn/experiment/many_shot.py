"""The many-shot regime: training on all training images of a dataset."""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters import named
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.backbones.concatenation import check_one_geometry
from fewshot_bn.config import ManyShotConfig
from fewshot_bn.datasets.splits import Split, split_of
from fewshot_bn.errors import FewshotError, UsageError
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.grid import Grid, Search
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS, Classifier
from fewshot_bn.evaluation.many_shot.samples import Samples, View
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.evaluation.many_shot.verdict import Verdict, predictions, scores
from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.experiment.events import Done, Event, Started
from fewshot_bn.files.atomic import digest
from fewshot_bn.inputs.source import Source, check_input, compute_features, decode_images, notes_on_looks
from fewshot_bn.results.files import check_same, held, write_many_shot
from fewshot_bn.results.key import Key, many_shot_key
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.reading import read_many_shot
from fewshot_bn.results.statistics import Estimate, estimate_of_strata
from fewshot_bn.runtime import device_names, versions

KIND = "mode of --regime many-shot"


class ManyShot:
    """A config, checked as far as that needs no data. Raises `UsageError`."""

    def __init__(self, config: ManyShotConfig) -> None:
        self._config = config
        wanted = named(config.modes, CLASSIFIERS, KIND)
        baseline = config.baseline if config.baseline not in wanted else None
        self._classifiers = {**named([baseline] if baseline else [], CLASSIFIERS, KIND), **wanted}
        self._grids = {mode: Grid(lists, config.budget) for mode, lists in (config.grid or {}).items()}
        for mode in self._grids:
            if not isinstance(self._classifiers.get(mode), Tuning):
                tuners = [name for name, one in self._classifiers.items() if isinstance(one, Tuning)]
                raise UsageError(
                    f"grid names {mode!r}, which is not a mode of this run that is trained by steps "
                    f"({', '.join(tuners) or 'none is'})"
                )

    def check_devices(self, devices: Sequence[torch.device]) -> None:
        """Raises `UsageError` where there are several."""
        if len(devices) > 1:
            raise UsageError(f"--device {self._config.device} names several; --regime many-shot runs on one")

    def open(self, source: Source, devices: Sequence[torch.device]) -> tuple[Started, list["Job"]]:
        """What is about to be done.

        Raises `DataError` where the images cannot be split, and `ModelError` or `UsageError` where a mode cannot tune
        the backbone.
        """
        dataset, seed = source.images.dataset, self._config.seed
        split = split_of(dataset, seed)
        jobs = [
            Job(
                mode,
                classifier,
                self._grids.get(mode),
                many_shot_key(
                    dataset, source.backbone, (mode, classifier), split=split, seed=seed, grid=self._grids.get(mode)
                ),
                split,
                source,
                self._config,
            )
            for mode, classifier in self._classifiers.items()
        ]
        for job in jobs:
            job.check()
        return Started(f"{source.subject}; {_plan(split, seed)}; {device_names(devices)}"), jobs

    def notices(self, source: Source) -> Iterator[str]:
        """Nothing beyond what the data and the backbone say."""
        del source
        yield from ()


def _plan(split: Split, seed: int) -> str:
    """Which images are for what, in words."""
    origin = "as the files say" if split.official else f"drawn with seed {seed}"
    return (
        f"many-shot: {len(split.train):,} training, {len(split.val):,} validation and {len(split.test):,} test "
        f"images, {origin}"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One classifier on one split: `run` gives its result."""

    title: str
    classifier: Classifier
    grid: Grid | None
    key: Key
    split: Split
    source: Source
    config: ManyShotConfig

    def check(self) -> None:
        """What can be said before anything is computed."""
        if isinstance(self.classifier, LinearEvaluation):
            return
        try:
            check_one_geometry(self.source.backbone)
            self._trained(self.classifier).check()
        except FewshotError as problem:
            raise type(problem)(f"--mode {self.title}: {problem}") from problem

    def run(self) -> Iterator[Event]:
        """Take the result from its file, or compute it; the last event is `Done`."""
        with held(self.config.output, self.key) as path:
            if path.exists():
                result = read_many_shot(path)
                check_same(path, result.key, self.key)
                result = replace(result, labels=self._labels.tolist())  # older files have none
            else:
                kept = Checkpoint(path.with_name(f".{path.name}.training"), digest([json.dumps(self.key)]))
                result = yield from self._evaluate(kept)
                write_many_shot(path, result)
                kept.remove()
        yield Done(self.title, result, path)

    def _evaluate(self, kept: Checkpoint) -> Generator[Event, None, ManyShotResult]:
        began = time.perf_counter()
        metric = self.source.images.dataset.metric
        if isinstance(self.classifier, LinearEvaluation):
            metric = metric if self.classifier.metric == "card" else self.classifier.metric
            verdict = yield from self._linear(self.classifier, metric)
        else:
            rows = np.concatenate([self.split.train, self.split.val, self.split.test])
            yield from decode_images(self.source, rows, [self.source.device])
            yield from check_input(self.source, rows)
            self.source.features.release()
            verdict = yield from self._trained(self.classifier).run(kept, metric)
            yield from notes_on_looks(self.source.images)
        seconds = time.perf_counter() - began
        return self._result(metric, verdict, seconds)

    def _trained(self, tuner: Tuning) -> TunedEvaluation | Search:
        evaluation = TunedEvaluation(tuner, self.source, self.split, self.config.seed)
        return Search(self.grid, evaluation, self.title) if self.grid else evaluation

    def _linear(self, classifier: LinearEvaluation, metric: str) -> Generator[Event, None, Verdict]:
        yield from compute_features(self.source, np.arange(len(self.source.images.dataset)))
        train, val, test = (self._samples(rows) for rows in (self.split.train, self.split.val, self.split.test))
        return (yield from classifier.verdict([View(train, val, test)], metric))

    def _result(self, metric: str, verdict: Verdict, seconds: float) -> ManyShotResult:
        y = torch.from_numpy(self._labels).to(verdict.logits.device)
        intervals = estimates(verdict.logits, y)
        return ManyShotResult(
            key=self.key,
            metric=metric,
            path=verdict.path,
            C=verdict.C,
            converged=verdict.converged,
            test=scores(verdict.logits, y),
            test_half_widths={name: found.half_width for name, found in intervals.items()},
            test_intervals={name: [found.low, found.high] for name, found in intervals.items()},
            predictions=predictions(verdict.logits).tolist(),
            labels=self._labels.tolist(),
            training=dict(verdict.training),
            trials=verdict.trials,
            chosen=dict(verdict.chosen),
            run={"seconds": seconds, "device": device_names([self.source.device]), "versions": versions()},
        )

    @property
    def _labels(self) -> Int64[ndarray, "n_test"]:
        labels: Int64[ndarray, "n_test"] = self.source.images.dataset.labels[self.split.test]
        return labels

    def _samples(self, rows: Int64[ndarray, "n"]) -> Samples:
        dataset = self.source.images.dataset
        labels = torch.from_numpy(dataset.labels[rows]).to(self.source.device)
        return Samples(self.source.features.gather(rows), labels, len(dataset.class_names))


def estimates(logits: Float[Tensor, "n way"], y: Int64[Tensor, "n"]) -> dict[str, Estimate]:
    """With 95 % intervals, of the metrics that have one."""
    right, labels = (predictions(logits) == y).double().cpu().numpy(), y.cpu().numpy()
    found = {
        name: estimate_of_strata(metric.strata(right, labels))
        for name, metric in metrics_of("split").items()
        if metric.strata
    }
    return {name: estimate for name, estimate in found.items() if estimate is not None}
