"""Evaluate on several devices of one machine: chunks of episodes go to whichever device is free.

Episodes are independent, so the answer is that of one device; it comes in the order of the episodes.
"""

import contextlib
import copy
import math
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from fewshot_bn.adapters import Adapter
from fewshot_bn.episodes import Episodes
from fewshot_bn.evaluation.loop import Outcome, evaluate, evaluate_portions
from fewshot_bn.evaluation.memory import choose_portion
from fewshot_bn.inputs.source import Source
from fewshot_bn.runtime import exact_convolutions, move


def replicas(source: Source, devices: Sequence[torch.device]) -> list[Source]:
    """The source itself for the first device, and one with a copy of the backbone for each further device."""
    copies = [
        replace(
            source,
            backbone=replace(source.backbone, module=move(copy.deepcopy(source.backbone.module), device)),
            device=device,
        )
        for device in devices[1:]
    ]
    return [source, *copies]


def evaluate_on(
    adapter: Adapter, sources: Sequence[Source], episodes: Episodes, *, chunk: int | None = None
) -> Iterator[Outcome]:
    """As `evaluate`, on all of `sources` at once. A probe, which takes milliseconds, uses the first alone."""
    if len(sources) == 1 or adapter.takes == "features":
        yield from evaluate(adapter, sources[0], episodes, chunk=chunk)
        return
    portion = choose_portion(adapter, sources[0], episodes.support[0].size, episodes.query[0].size)
    most = min(chunk or portion.episodes, math.ceil(len(episodes) / len(sources)))
    portion = replace(portion, episodes=most)
    free: queue.SimpleQueue[Source] = queue.SimpleQueue()
    for source in sources:
        free.put(source)

    def work(part: Episodes) -> list[Outcome]:
        source = free.get()
        try:
            return list(evaluate_portions(adapter, source, part, portion))
        finally:
            free.put(source)

    with exact_convolutions(), ThreadPoolExecutor(len(sources)) as pool, contextlib.ExitStack() as undone:
        parts = [episodes[start : start + most] for start in range(0, len(episodes), most)]
        futures = [pool.submit(work, part) for part in parts]
        for future in futures:
            undone.callback(future.cancel)  # when an error or Ctrl-C ends this early
        for future in futures:
            yield from future.result()
