"""Tuners on all training images: a network is trained, then it classifies the test images.

With the trained head as readout, training and validation images together are what is trained on: nothing is chosen.
With `readout=lr` the network is tuned to the training images alone; C is chosen on the validation images, whose
features are those of images that it has not seen, and logistic regression is fitted again to both.

Sources: two-stage training of networks side by side, with averaged heads: Zhang and Bottou 2023, arXiv:2212.07346.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters.tuning.readout import mean_probabilities
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.adapters.tuning.two_stage import Chosen
from fewshot_bn.backbones.concatenation import SideBySide
from fewshot_bn.datasets.splits import Split
from fewshot_bn.errors import DataError, UsageError, some
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.feed import Pictures
from fewshot_bn.evaluation.many_shot.learner import Learner
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.other_tests import OtherTest
from fewshot_bn.evaluation.many_shot.samples import Samples, View, samples_of
from fewshot_bn.evaluation.many_shot.verdict import Verdict
from fewshot_bn.evaluation.memory import choose_portion
from fewshot_bn.events import Note, Progress
from fewshot_bn.inputs.source import Source

POLICIES = ("frozen", "batch", "converted")
READOUTS = {"lr": LinearEvaluation(scaling="l2")}
Event = Progress | Note


@dataclass(frozen=True, slots=True)
class TunedEvaluation:
    """A tuner on the images of a split, which are classified, and so are those of `others`.

    Raises `UsageError` for settings that many images cannot be trained with.
    """

    tuner: Tuning
    source: Source
    split: Split
    seed: int
    others: Sequence[OtherTest] = ()

    def __post_init__(self) -> None:
        tuner = self.tuner
        if tuner.statistics not in POLICIES:
            raise UsageError(
                f"statistics={tuner.statistics} is of episodes; with many images it has to be {' or '.join(POLICIES)}"
            )
        if tuner.readout != "head" and tuner.readout not in READOUTS:
            raise UsageError(f"readout={tuner.readout} is of episodes; with many images it has to be head or lr")
        if not tuner.batch_size:
            raise UsageError(
                "batch_size=0 puts all images into a step; many images need batches, such as batch_size=64"
                + (", and head=ncm cannot have any: take another head" if tuner.head == "ncm" else "")
            )
        labels, names = self.source.images.dataset.labels, self.source.images.dataset.class_names
        absent = sorted(set(range(len(names))) - set(labels[self.rows].tolist()))
        if absent:
            lacking = some([names[k] for k in absent])
            raise DataError(f"{self.source.images.dataset.name}: no training image is of class {lacking}")

    @property
    def rows(self) -> Int64[ndarray, "n"]:
        """The images that the network is tuned to, in ascending order."""
        split = self.split
        return np.sort(np.concatenate([split.train, split.val])) if self.tuner.readout == "head" else split.train

    def check(self) -> None:
        """Raise `ModelError` or `UsageError` where the backbone cannot be tuned so."""
        self.tuner.check(self.source.backbone, len(self.rows), 1)

    def run(self, checkpoint: Checkpoint, metric: str, trial: str = "") -> Generator[Event, None, Verdict]:
        """Train what is to be trained, then classify; of networks side by side perhaps one after the other.

        `trial` tells several trainings of one checkpoint apart.
        """
        stages = self.tuner.stages(self.source.backbone)
        facts: list[Mapping[str, Any]] = []
        scores: list[list[list[Tensor]]] = []  # of every member, test set and view
        views: list[list[View]] = []
        for place, stage in enumerate(stages):
            learner = self.learner(place, stage, alone=len(stages) == 1)
            member = f"{place}.{stage.backbone.name}" if len(stages) > 1 else ""
            yield from learner.train(checkpoint, f"{trial} {member}".strip())
            yield Progress("classifying", "image", 0, None)
            if self.tuner.readout == "head":
                scores.append([list(learner.head_scores(*test)) for test in self._tests])
            else:
                views.append(list(self._views(learner)))
            facts.append(learner.facts)
            del learner  # before the next one is trained
        training = _together(facts)
        if scores:
            logits, *others = map(_averaged, zip(*scores, strict=True))
            return Verdict(logits, bool(logits.isfinite().all()), training=training, others=tuple(others))
        together = [_side_by_side(view) for view in zip(*views, strict=True)]
        if not all(view.is_finite for view in together):
            return self._diverged(training)
        verdict = yield from READOUTS[self.tuner.readout].verdict(together, metric)
        return replace(verdict, training=training)

    def _diverged(self, training: Mapping[str, Any]) -> Verdict:
        """No readout can be solved on features that are no numbers."""
        n_way = len(self.source.images.dataset.class_names)
        logits, *others = (torch.full((len(rows), n_way), torch.nan) for rows, _ in self._tests)
        return Verdict(logits, converged=False, training=training, others=tuple(others))

    @property
    def _tests(self) -> list[tuple[Int64[ndarray, "_"], Source]]:
        """What is classified: the test images of the split first."""
        return [(self.split.test, self.source), *((other.rows, other.source) for other in self.others)]

    def learner(self, place: int, stage: Chosen, *, alone: bool) -> Learner:
        """Of the stage at that place, ready to be trained; not `alone`, it sees images as a member takes them."""
        module, batch = self.source.backbone.module, min(self.tuner.batch_size, len(self.rows))
        seen = module.seen_by if isinstance(module, SideBySide) and not alone else lambda _, x: x
        pictures = Pictures(self.source, partial(seen, place))
        portion = choose_portion(self.tuner, self.source.backbone, self.source.device, n_support=batch, n_query=0)
        n_way = len(self.source.images.dataset.class_names)
        return Learner(self.tuner, stage, pictures, self.rows, n_way, self.seed, portion.images)

    def _views(self, learner: Learner) -> Iterator[View]:
        """Features under the tuned network in every view."""
        split, dataset = self.split, self.source.images.dataset
        parts = (split.train, split.val, split.test)
        shown = [*((rows, self.source) for rows in parts), *self._tests[1:]]
        for features in zip(*(learner.features(*images) for images in shown), strict=True):
            train, val, test = (samples_of(dataset, rows, z) for rows, z in zip(parts, features, strict=False))
            yield View(train, val, test, others=features[len(parts) :])


def _side_by_side(members: Sequence[View]) -> View:
    """One view of all members, whose features are side by side."""

    def joined(samples: Sequence[Samples]) -> Samples:
        return replace(samples[0], z=torch.cat([each.z for each in samples], 1))

    train, val, test = (joined([getattr(view, part) for view in members]) for part in ("train", "val", "test"))
    others = (torch.cat(features, 1) for features in zip(*(view.others for view in members), strict=True))
    return View(train, val, test, others=tuple(others))


def _averaged(scores: Sequence[Sequence[Tensor]]) -> Float[Tensor, "n way"]:
    """Of every member, and of every view: scores of the former, probabilities of the latter."""
    return mean_probabilities([torch.stack(of_members).mean(0)[None] for of_members in zip(*scores, strict=True)])[0]


def _together(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Steps and trained values of all members, and their losses."""
    sums = {name: sum(each[name] for each in facts) for name in ("steps", "trained_values")}
    return {**sums, "losses": [each["loss"] for each in facts]}
