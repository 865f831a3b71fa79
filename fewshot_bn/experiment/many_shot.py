"""The many-shot regime: training on all training images of a dataset."""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

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
from fewshot_bn.evaluation.many_shot.other_tests import OtherTest, groups_of
from fewshot_bn.evaluation.many_shot.samples import View, samples_of
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.evaluation.many_shot.verdict import Verdict, worst_group
from fewshot_bn.events import Note
from fewshot_bn.experiment.events import Done, Event, Started
from fewshot_bn.experiment.other_tests import open_others, prepared
from fewshot_bn.experiment.splitting import notes_on_split
from fewshot_bn.experiment.tested import tested
from fewshot_bn.files.atomic import digest
from fewshot_bn.inputs.source import Source, check_input, compute_features, decode_images, notes_on_looks
from fewshot_bn.results.files import check_same, held
from fewshot_bn.results.key import Key, file_name, many_shot_key
from fewshot_bn.results.many_shot import ManyShotResult, Tested
from fewshot_bn.results.many_shot_files import read_many_shot, write_many_shot
from fewshot_bn.runtime import device_names, versions

KIND = "mode of --regime many-shot"


class ManyShot:
    """A config, checked as far as that needs no data. Raises `UsageError`."""

    def __init__(self, config: ManyShotConfig) -> None:
        self._config = config
        wanted = named(config.modes, CLASSIFIERS, KIND)
        baseline = config.baseline if config.baseline not in wanted else None
        self._notices: list[str] = []
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
        split = split_of(source.images.dataset, self._config.seed, self._config.split)
        others, notes = open_others(self._config, source)
        jobs = [
            Job(mode, classifier, self._grids.get(mode), split, source, tuple(others), self._config)
            for mode, classifier in self._classifiers.items()
        ]
        for job in jobs:
            job.check()
        self._notices = [*notes, *notes_on_split(source.images.dataset, split, self._config)]
        return Started(f"{source.subject}; {_plan(split, others)}; {device_names(devices)}"), jobs

    def notices(self, source: Source) -> Iterator[str]:
        """What is to be said of the split, and of the other datasets that are tested on."""
        del source
        yield from self._notices


def _plan(split: Split, others: Sequence[OtherTest]) -> str:
    """Which images are for what, in words."""
    beside = "".join(f", and {len(other.rows):,} of {other.name}" for other in others)
    return (
        f"many-shot: {len(split.train):,} training, {len(split.val):,} validation and {len(split.test):,} test "
        f"images, {split.origin}{beside}"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One classifier on one split: `run` gives its result."""

    title: str
    classifier: Classifier
    grid: Grid | None
    split: Split
    source: Source
    others: tuple[OtherTest, ...]
    config: ManyShotConfig

    def key(self, others: Sequence[OtherTest]) -> Key:
        """What decides the answer, if the classifier is tested on these other images, too."""
        dataset, seed = self.source.images.dataset, self.config.seed
        adapter = self.title, self.classifier
        return many_shot_key(
            dataset, self.source.backbone, adapter, split=self.split, seed=seed, grid=self.grid, others=others
        )

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
        key = self.key(self.others)
        with held(self.config.output, key) as path:
            if path.exists():
                result = read_many_shot(path)
                check_same(path, result.key, key)
                result = self._as_of_now(result)
            else:
                yield from self._said_of_less(path)
                kept = Checkpoint(path.with_name(f".{path.name}.training"), digest([json.dumps(key)]))
                result = yield from self._evaluate(key, kept)
                write_many_shot(path, result)
                kept.remove()
        yield Done(self.title, result, path)

    def _as_of_now(self, result: ManyShotResult) -> ManyShotResult:
        """What a file says, with labels, which older ones lack, and the groups that the data have today."""
        labels, groups = self._labels.tolist(), groups_of(self.source, self.split.test)
        tests = {other.name: _regrouped(result.tests[other.name], other) for other in self.others}
        worst = worst_group(result.predictions, labels, groups)
        return replace(result, labels=labels, worst_group=worst, tests=tests)

    def _said_of_less(self, path: Path) -> Iterator[Note]:
        """That there is a result already, but without the other tests."""
        if self.others and path.with_name(file_name(self.key([]))).exists():
            yield Note(
                f"{self.title}: is fitted again, as only its result without --test-dataset was kept; name all test "
                "datasets at once"
            )

    def _evaluate(self, key: Key, kept: Checkpoint) -> Generator[Event, None, ManyShotResult]:
        began = time.perf_counter()
        metric = self.source.images.dataset.metric
        if isinstance(self.classifier, LinearEvaluation):
            metric = metric if self.classifier.metric == "card" else self.classifier.metric
            verdict = yield from self._linear(self.classifier, metric)
        else:
            yield from decode_images(self.source, self._rows, [self.source.device])
            yield from check_input(self.source, self._rows)
            self.source.features.release()
            for other in self.others:
                yield from prepared(other, features=False)
            verdict = yield from self._trained(self.classifier).run(kept, metric)
            for source in (self.source, *(other.source for other in self.others)):
                yield from notes_on_looks(source.images)
        seconds = time.perf_counter() - began
        return self._result(key, metric, verdict, seconds)

    def _trained(self, tuner: Tuning) -> TunedEvaluation | Search:
        evaluation = TunedEvaluation(tuner, self.source, self.split, self.config.seed, self.others)
        return Search(self.grid, evaluation, self.title) if self.grid else evaluation

    def _linear(self, classifier: LinearEvaluation, metric: str) -> Generator[Event, None, Verdict]:
        yield from compute_features(self.source, self._rows)
        for other in self.others:
            yield from prepared(other, features=True)
        features, dataset = self.source.features, self.source.images.dataset
        parts = (self.split.train, self.split.val, self.split.test)
        train, val, test = (samples_of(dataset, rows, features.gather(rows)) for rows in parts)
        others = tuple(other.source.features.gather(other.rows) for other in self.others)
        return (yield from classifier.verdict([View(train, val, test, others)], metric))

    def _result(self, key: Key, metric: str, verdict: Verdict, seconds: float) -> ManyShotResult:
        own = tested(verdict.logits, self._labels, groups_of(self.source, self.split.test))
        scored = zip(self.others, verdict.others, strict=True)
        return ManyShotResult(
            key=key,
            metric=metric,
            path=verdict.path,
            C=verdict.C,
            converged=verdict.converged,
            test=own.test,
            test_half_widths=own.half_widths,
            test_intervals=own.intervals,
            predictions=own.predictions,
            labels=own.labels,
            worst_group=own.worst_group,
            training=dict(verdict.training),
            trials=verdict.trials,
            chosen=dict(verdict.chosen),
            run={"seconds": seconds, "device": device_names([self.source.device]), "versions": versions()},
            tests={other.name: tested(logits, other.labels, other.groups) for other, logits in scored},
        )

    @property
    def _rows(self) -> Int64[ndarray, "n"]:
        """All that take part, in order."""
        return np.sort(np.concatenate([self.split.train, self.split.val, self.split.test]))

    @property
    def _labels(self) -> Int64[ndarray, "n_test"]:
        labels: Int64[ndarray, "n_test"] = self.source.images.dataset.labels[self.split.test]
        return labels


def _regrouped(found: Tested, other: OtherTest) -> Tested:
    labels = other.labels.tolist()
    return replace(found, labels=labels, worst_group=worst_group(found.predictions, labels, other.groups))
