"""One run of the command: every mode at every number of shots over the same episodes, with progress and a table."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fewshot_bn.adapters import Adapter, Tuner, make_adapter
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.config import Request
from fewshot_bn.console import Say, progress, speaker
from fewshot_bn.datasets import Dataset, open_dataset
from fewshot_bn.episodes import Episodes, EpisodeShape, Plan, make_plan, n_disjoint
from fewshot_bn.errors import FewshotError, ResultError, UsageError, some
from fewshot_bn.evaluation.parallel import evaluate_on, replicas
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.inputs.source import Source, compute_features, decode_images, open_source, subject
from fewshot_bn.reports.text import percent, table
from fewshot_bn.results.files import ResultFile, check_folder, open_result
from fewshot_bn.results.key import Identity, identity_of
from fewshot_bn.results.result import Run
from fewshot_bn.results.shards import Shard, find_shards, lagging, merged, of_shard, parse_shard
from fewshot_bn.results.statistics import estimate
from fewshot_bn.runtime import choose_devices, device_names, versions


@dataclass(frozen=True, slots=True)
class Job:
    """One adapter on one shape of episodes."""

    mode: str
    adapter: Adapter
    shape: EpisodeShape
    episodes: Episodes
    identity: Identity
    shard: Shard | None

    @property
    def title(self) -> str:
        return f"{self.mode} {self.shape.n_support}-shot"


def run(request: Request) -> None:
    """Do what `request` says and print the table. What can be checked is checked before the first long computation."""
    keep_freed_memory()
    logging.getLogger("fewshot_bn").setLevel(logging.ERROR if request.quiet else logging.WARNING)
    adapters = _adapters(request)
    devices = choose_devices(request.device)
    shard = parse_shard(request.shard) if request.shard else None
    plan = make_plan(request.episodes, seed=request.seed, by_group=request.by_group)
    check_folder(request.output)
    dataset = open_dataset(request.dataset, root=request.data_root, strict=request.strict)
    source = open_source(request, dataset, devices[0])
    for name, adapter in adapters.items():
        if adapter.takes == "images":
            _check(name, adapter, source.backbone, request)
    jobs = list(_jobs(request, adapters, source, plan=plan, shard=shard))
    sources = replicas(source, devices)
    say = speaker(quiet=request.quiet)
    say(_headline(request, sources, jobs))
    if plan.kind == "disjoint":
        for shape in dict.fromkeys(job.shape for job in jobs):
            n = n_disjoint(dataset.class_sizes, shape)
            say(f"note: {n} episodes exist that share no image, at {shape.n_way}-way {shape.n_support}-shot")
    for notice in (*dataset.notices, *source.backbone.notices):
        say(f"note: {notice}")
    results, files = [], []
    for job in jobs:
        first = partial(_first, job, dataset, plan)
        with open_result(request.output, job.identity, first) as file:
            _take_shards(file, job, first, say)
            _complete(file, job, sources, request, say=say)
        results.append(file.result[: len(job.episodes)])
        files.append(file.path)
        say(f"{job.title}: {percent(estimate(results[-1].accuracies))}")
    print(table(results, request.baseline))
    for path in files:
        print(f"result: {path}")


def _adapters(request: Request) -> dict[str, Adapter]:
    """The baseline first, then the modes, each once."""
    names = list(dict.fromkeys([*([request.baseline] if request.baseline else []), *(request.modes or ("bn",))]))
    adapters = {name: make_adapter(name, request.settings.get(name)) for name in names}
    unused = request.settings.keys() - adapters.keys()
    if unused:
        raise UsageError(f"--set names {sorted(unused)[0]!r}, which is not a mode of this run ({', '.join(names)})")
    return adapters


def _check(mode: str, adapter: Tuner, backbone: Backbone, request: Request) -> None:
    """What an adapter can say before the first episode, for every number of shots."""
    for n_support in request.n_support:
        try:
            adapter.check(backbone, request.n_way * n_support, request.n_way * request.n_query)
        except FewshotError as problem:
            raise type(problem)(f"--mode {mode}: {problem}") from problem


def _jobs(
    request: Request, adapters: Mapping[str, Adapter], source: Source, *, plan: Plan, shard: Shard | None
) -> Iterator[Job]:
    dataset = source.images.dataset
    for n_support in dict.fromkeys(request.n_support):
        shape = EpisodeShape(request.n_way, n_support, request.n_query)
        whole = plan.draw(dataset, shape, request.n_episodes)
        episodes = whole[shard.part] if shard else whole
        if not len(episodes):
            raise UsageError(f"--shard {shard} of {len(whole)} episodes is empty; raise --n-episodes")
        for mode, adapter in adapters.items():
            identity = identity_of(dataset, source.backbone, (mode, adapter), shape=shape, plan=plan)
            if shard:
                identity = of_shard(identity, shard)
            yield Job(mode, adapter, shape, episodes, identity, shard)


def _first(job: Job, dataset: Dataset, plan: Plan, n_episodes: int) -> Episodes:
    """The first episodes of the job's list, also beyond those that it is asked for."""
    if n_episodes <= len(job.episodes):
        return job.episodes[:n_episodes]
    if job.shard:
        return plan.first(dataset, job.shape, n_episodes * job.shard.count)[job.shard.part]
    return plan.first(dataset, job.shape, n_episodes)


def _take_shards(file: ResultFile, job: Job, first: Callable[[int], Episodes], say: Say) -> None:
    """Take over what shards of this very result hold beyond it."""
    shards = [] if job.shard else find_shards(file.path.parent, job.identity)
    if not shards or len(file.result) >= len(job.episodes):
        return
    for result in shards:
        shard = parse_shard(result.identity["shard"])
        if len(result) and result.episodes != first(len(result) * shard.count)[shard.part].fingerprint:
            raise ResultError(f"shard {shard} of {file.path}: its episodes are not those of this dataset and seed")
    result = merged(shards)
    if len(result) < len(job.episodes) and (missing := lagging(shards)):
        raise ResultError(
            f"{file.path}: its shards are not complete: {some(missing)}; finish them, or move the shards away"
        )
    if len(result) > len(file.result):
        file.adopt(replace(result, episodes=first(len(result)).fingerprint))
        say(f"note: {job.title}: {len(result)} episodes are merged from {len(shards)} shards")


def _complete(file: ResultFile, job: Job, sources: Sequence[Source], request: Request, *, say: Say) -> None:
    """Run the episodes that the file does not hold yet, and add them chunk by chunk."""
    done = len(file.result)
    todo = job.episodes[done:]
    if not len(todo):
        return
    try:
        if job.adapter.takes == "features":
            compute_features(sources[0], todo.rows, request, say)
        else:
            decode_images(sources, todo.rows, request, say)
        seconds = 0.0
        with progress(job.title, "episode", len(job.episodes), done, quiet=request.quiet) as bar:
            for outcome in evaluate_on(job.adapter, sources, todo, chunk=request.chunk):
                seconds += outcome.seconds
                stop = len(file.result) + len(outcome.correct)
                fingerprint = job.episodes[:stop].fingerprint
                result = file.result.extended(outcome, episodes=fingerprint)
                file.write(
                    result, Run(done, stop, seconds, device_names(source.device for source in sources), versions())
                )
                bar.set_postfix_str(f"accuracy {percent(estimate(result.accuracies))}", refresh=False)
                bar.update(len(outcome.correct))
    except KeyboardInterrupt:
        kept = f" and are kept in {file.path}" if len(file.result) else ""
        done_now = f"{len(file.result)} of {len(job.episodes)} episodes of {job.title} are done{kept}"
        raise KeyboardInterrupt(f"stopped: {done_now}; the same command goes on from there") from None


def _headline(request: Request, sources: Sequence[Source], jobs: Sequence[Job]) -> str:
    n_episodes = sorted({len(job.episodes) for job in jobs}, reverse=True)
    kind = "" if request.episodes == "random" else f"{request.episodes} "
    grouped = ", by group" if request.by_group else ""
    part = f", shard {request.shard}" if request.shard else ""
    return (
        f"{subject(sources[0])}; {request.n_way}-way, {request.n_query} queries, {' / '.join(map(str, n_episodes))} "
        f"{kind}episodes{grouped}, seed {request.seed}{part}; {device_names(source.device for source in sources)}"
    )
