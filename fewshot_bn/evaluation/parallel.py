"""Evaluate on several devices of one machine: chunks of episodes go to whichever device is free.

Episodes are independent, so the answer is that of one device; it comes in the order of the episodes.
"""

import contextlib
import copy
import math
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from fewshot_bn.episodes import Episodes
from fewshot_bn.evaluation.loop import Outcome, Work
from fewshot_bn.evaluation.memory import Portion
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


@dataclass(frozen=True, slots=True)
class OnDevices:
    """An executor with a thread for each of `devices`, of which the first is that of the source."""

    devices: Sequence[torch.device]

    def __call__(self, work: Work, source: Source, episodes: Episodes, portion: Portion) -> Iterator[Outcome]:
        most = min(portion.episodes, math.ceil(len(episodes) / len(self.devices)))
        portion = replace(portion, episodes=most)
        free: queue.SimpleQueue[Source] = queue.SimpleQueue()
        for replica in replicas(source, self.devices):
            free.put(replica)

        def work_when_free(part: Episodes) -> list[Outcome]:
            replica = free.get()
            try:
                return list(work(replica, part, portion))
            finally:
                free.put(replica)

        with exact_convolutions(), ThreadPoolExecutor(len(self.devices)) as pool, contextlib.ExitStack() as undone:
            parts = [episodes[start : start + most] for start in range(0, len(episodes), most)]
            futures = [pool.submit(work_when_free, part) for part in parts]
            for future in futures:
                undone.callback(future.cancel)  # when an error or Ctrl-C ends this early
            for future in futures:
                yield from future.result()
