"""The few-shot regime: every adapter at every number of shots, over the same episodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fewshot_bn.adapters import ADAPTERS, Adapter, Tuner, named
from fewshot_bn.adapters.checks import check_own
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.concatenation import check_one_geometry
from fewshot_bn.config import FewShotConfig
from fewshot_bn.datasets import Dataset
from fewshot_bn.episodes import Episodes, EpisodeShape, Plan, make_plan, n_disjoint
from fewshot_bn.errors import FewshotError, ResultError, UsageError, some
from fewshot_bn.evaluation.loop import evaluate, serial
from fewshot_bn.evaluation.metrics import comparable, comparable_metric
from fewshot_bn.evaluation.parallel import OnDevices
from fewshot_bn.events import Note
from fewshot_bn.experiment.events import Adapting, Done, Event, Started
from fewshot_bn.inputs.source import Source, check_input, compute_features, decode_images, notes_on_looks
from fewshot_bn.results.files import ResultFile, open_result
from fewshot_bn.results.key import Key, few_shot_key, file_name
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Result, Run
from fewshot_bn.results.shards import Shard, find_shards, lagging, merged, of_shard, parse_shard
from fewshot_bn.runtime import device_names, versions


class FewShot:
    """A config, checked as far as that needs no data. Raises `UsageError`."""

    def __init__(self, config: FewShotConfig) -> None:
        self._config = config
        self._adapters = _adapters(config)
        self._shard = parse_shard(config.shard) if config.shard is not None else None
        _check_metrics(config)
        self._plan = make_plan(config.episodes, seed=config.seed, by_group=config.by_group)

    def check_devices(self, devices: Sequence[torch.device]) -> None:
        """It runs on any number."""

    def open(self, source: Source, devices: Sequence[torch.device]) -> tuple[Started, list["Job"]]:
        """What is about to be done. Raises `FewshotError` where an adapter or the episodes do not suit the data."""
        for name, adapter in self._adapters.items():
            if adapter.takes == "images":
                _check(name, adapter, source.backbone, self._config)
        jobs = list(self._jobs(source, devices))
        for job in jobs:
            job.check()
        sizes = sorted({len(job.episodes) for job in jobs}, reverse=True)
        return Started(f"{source.subject}; {_plan(self._config, sizes)}; {device_names(devices)}"), jobs

    def notices(self, source: Source) -> Iterator[str]:
        """How many disjoint episodes exist, where those are asked for."""
        if self._plan.kind == "disjoint":
            for shape in self._shapes():
                n = n_disjoint(source.images.dataset.class_sizes, shape)
                yield f"{n} episodes exist that share no image, at {shape.n_way}-way {shape.n_support}-shot"

    def _shapes(self) -> list[EpisodeShape]:
        config = self._config
        return [EpisodeShape(config.n_way, k, config.n_query) for k in dict.fromkeys(config.n_support)]

    def _jobs(self, source: Source, devices: Sequence[torch.device]) -> Iterator["Job"]:
        dataset, shard = source.images.dataset, self._shard
        for shape in self._shapes():
            whole = self._plan.draw(dataset, shape, self._config.n_episodes)
            episodes = whole[shard.part] if shard else whole
            if not len(episodes):
                raise UsageError(f"--shard {shard} of {len(whole)} episodes is empty; raise --n-episodes")
            for mode, adapter in self._adapters.items():
                key = few_shot_key(dataset, source.backbone, (mode, adapter), shape=shape, plan=self._plan)
                key = of_shard(key, shard) if shard else key
                listed = Listed(self._plan, shape, episodes, shard)
                yield Job(f"{mode} {shape.n_support}-shot", adapter, key, listed, source, devices, self._config)


def _plan(config: FewShotConfig, n_episodes: Sequence[int]) -> str:
    """Which episodes, in words."""
    kind = "" if config.episodes == "random" else f"{config.episodes} "
    grouped = ", by group" if config.by_group else ""
    part = f", shard {config.shard}" if config.shard else ""
    return (
        f"{config.n_way}-way, {config.n_query} queries, {' / '.join(map(str, n_episodes))} {kind}episodes{grouped}, "
        f"seed {config.seed}{part}"
    )


def _adapters(config: FewShotConfig) -> dict[str, Adapter]:
    """The baseline first, then the modes, each once; adapters of the user's own keep to the contract."""
    modes = named(config.modes, ADAPTERS, "mode")
    names = [*([config.baseline] if config.baseline is not None else []), *modes]
    if not names:
        raise UsageError("modes is empty; name at least one mode")
    adapters = named(names, {**ADAPTERS, **modes}, "mode")
    for name, adapter in adapters.items():
        check_own(name, adapter)
    return adapters


def _check_metrics(config: FewShotConfig) -> None:
    if not config.metrics:
        raise UsageError(f"metrics is empty; name at least one of {', '.join(comparable())}")
    for name in config.metrics:
        comparable_metric(name)


def _check(mode: str, adapter: Tuner, backbone: Backbone, config: FewShotConfig) -> None:
    """What an adapter can say before the first episode, for every number of shots."""
    for n_support in config.n_support:
        try:
            check_one_geometry(backbone)
            adapter.check(backbone, config.n_way * n_support, config.n_way * config.n_query)
        except FewshotError as problem:
            raise type(problem)(f"--mode {mode}: {problem}") from problem


@dataclass(frozen=True, slots=True)
class Listed:
    """The episodes of a job, and how to draw those that come before and after them in the endless list."""

    plan: Plan
    shape: EpisodeShape
    episodes: Episodes
    shard: Shard | None

    def first(self, dataset: Dataset, n: int) -> Episodes:
        """The first `n` of the job's list, also beyond those that it is asked for."""
        if n <= len(self.episodes):
            return self.episodes[:n]
        if self.shard:
            return self.plan.first(dataset, self.shape, self.shard.reach(n))[self.shard.part]
        return self.plan.first(dataset, self.shape, n)


@dataclass(frozen=True, slots=True)
class Job:
    """One adapter on one shape of episodes: `run` completes its result file."""

    title: str
    adapter: Adapter
    key: Key
    listed: Listed
    source: Source
    devices: Sequence[torch.device]
    config: FewShotConfig

    @property
    def episodes(self) -> Episodes:
        """Those that are asked for."""
        return self.listed.episodes

    def _first(self, n: int) -> Episodes:
        return self.listed.first(self.source.images.dataset, n)

    def check(self) -> None:
        """Raise `ResultError` where a file holds episodes of which too little was kept for the metrics asked for."""
        path = self.config.output / file_name(self.key)
        if set(self.config.metrics) != {"accuracy"} and path.exists():
            self._check_measured(path, read_result(path))

    def _check_measured(self, path: Path, result: Result) -> None:
        for metric in self.config.metrics:
            if n_lacking := result[: len(self.episodes)].lacking(metric):
                raise ResultError(
                    f"{path}: {n_lacking} of its episodes were run before {metric} was measured, and their scores were "
                    f"not kept; move it away (they are run again), or ask for other metrics than {metric}"
                )

    def run(self) -> Iterator[Event]:
        """Take what the file and its shards hold, compute what is missing; the last event is `Done`."""
        with open_result(self.config.output, self.key, self._first) as file:
            yield from self._take_shards(file)
            self._check_measured(file.path, file.result)
            yield from self._complete(file)
        yield Done(self.title, file.result[: len(self.episodes)], file.path)

    def _take_shards(self, file: ResultFile) -> Iterator[Event]:
        """Take over what shards of this very result hold beyond it."""
        shards = [] if self.listed.shard else find_shards(file.path.parent, self.key, self._first)
        if not shards or len(file.result) >= len(self.episodes):
            return
        result = merged(shards)
        if len(result) < len(self.episodes) and (missing := lagging(shards)):
            raise ResultError(
                f"{file.path}: its shards are not complete: {some(missing)}; finish them, or move the shards away"
            )
        if len(result) > len(file.result):
            file.adopt(replace(result, episodes=self._first(len(result)).fingerprint))
            yield Note(f"{self.title}: {len(result)} episodes are merged from {len(shards)} shards")

    def _complete(self, file: ResultFile) -> Iterator[Event]:
        """Run the episodes that the file does not hold yet, and add them chunk by chunk."""
        done = len(file.result)
        todo = self.episodes[done:]
        if not len(todo):
            return
        yield self._progress(file)
        if self.adapter.takes == "features":
            yield from compute_features(self.source, todo.rows)
        else:
            yield from decode_images(self.source, todo.rows, self.devices)
            yield from check_input(self.source, todo.rows)
            self.source.features.release()
        seconds, executor = 0.0, serial if len(self.devices) == 1 else OnDevices(self.devices)
        for outcome in evaluate(self.adapter, self.source, todo, chunk=self.config.chunk, executor=executor):
            seconds += outcome.seconds
            stop = len(file.result) + len(outcome.correct)
            file.add(outcome, Run(done, stop, seconds, device_names(self.devices), versions()))
            yield self._progress(file)
        yield from notes_on_looks(self.source.images)

    def _progress(self, file: ResultFile) -> Adapting:
        n = len(file.result)
        mean = file.result.accuracy if n else None
        return Adapting(self.title, "episode", n, len(self.episodes), mean, file.path)
