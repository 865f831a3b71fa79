"""Trainings on many images, run to their end."""

import torch

from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.source import Source

CPU = torch.device("cpu")
BATCHES = {"steps": 0, "epochs": 3, "batch_size": 6, "lr_head": 0.1}


def of_backbone(source, backbone):
    backbone.module.double()
    images = Images(source.images.dataset, backbone.preprocessing)
    return Source(images, backbone, Features(images, backbone, device=CPU), CPU)


def outcome(tuner, source, split, checkpoint, seed=3):
    """What a run ends with."""
    return answer(TunedEvaluation(tuner, source, split, seed).run(checkpoint, "top-1"))


def answer(run):
    """What a generator returns."""
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value


def killed_and_continued(start, chance):
    """What `start()` returns at last, with kills after a few random events each; how many events and kills there were.

    `start` takes up the work where it was.
    """
    n_events = n_kills = 0
    while True:
        run = start()
        try:
            for _ in range(int(chance.integers(3, 9))):
                next(run)
                n_events += 1
        except StopIteration as end:
            return end.value, n_events, n_kills
        run.close()
        n_kills += 1
