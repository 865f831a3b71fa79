"""Settings chosen on validation images, at a bounded cost: a grid, searched by successive halving.

Every point of a grid is trained for a part of the steps, with the whole of its schedule; the best third is trained anew
for three times as many, and so on, until the last few are trained in full. How short the first trainings are follows
from the budget: as long as it allows, and if it allows that, all points are trained in full at once. Grids may come in
turn: the next one starts from what was chosen in the one before.

A trial trains on the training images alone and is scored on the validation images. One whose scores are not finite is
kept, and never chosen.

Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization",
arXiv:1502.07943, figure 1; with restarts in place of continued trainings, as rates decay over a training.
"""

import itertools
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fewshot_bn.adapters import with_settings
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.evaluation.many_shot.verdict import Verdict, scores
from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.events import Note, Progress

KEPT = 3  # one of so many goes on, for as many times the steps
Point = Mapping[str, Any]  # settings
Points = Sequence[Point]


@dataclass(frozen=True, slots=True)
class Grid:
    """Points of settings, one list after the other, and what the search in each list may cost, in whole trainings.

    Raises `UsageError` for a list without points, or a budget that no search fits in.
    """

    lists: Sequence[Points]
    budget: float

    def __post_init__(self) -> None:
        if not self.lists or not all(self.lists):
            raise UsageError("a grid needs at least one point, such as ft.lr_body=0.001,0.01")
        for points in self.lists:
            self.rungs(len(points))

    def rungs(self, n_points: int) -> list[tuple[int, float]]:
        """How many points are trained, and for which part of the steps, time after time."""
        for n_rungs in range(1, 2 + math.ceil(math.log(n_points, KEPT))):
            numbers = [math.ceil(n_points / KEPT**rung) for rung in range(n_rungs)]
            shares = [float(KEPT) ** -(n_rungs - 1 - rung) for rung in range(n_rungs)]
            cost = sum(n * share for n, share in zip(numbers, shares, strict=True))
            if cost <= self.budget:
                return list(zip(numbers, shares, strict=True))
        raise UsageError(
            f"the budget is {self.budget:g} trainings; the shortest search of {n_points} points costs {cost:.3g}"
        )


@dataclass(frozen=True, slots=True)
class Search:
    """The search of a grid around the settings of the tuner of a mode."""

    grid: Grid
    evaluation: TunedEvaluation
    mode: str

    def check(self) -> None:
        """Raise `UsageError` or `ModelError` for a point that cannot be trained."""
        starts: Point = {}
        for points in self.grid.lists:
            for point in points:
                self._with({**starts, **point}, 1.0).check()
            starts = {**starts, **points[0]}

    def run(self, checkpoint: Checkpoint, metric: str) -> Generator[Progress | Note, None, Verdict]:
        """Choose by `metric` on the validation images, then train with that and classify the test images."""
        chosen: Point = {}
        trials: list[dict[str, Any]] = []
        for points in self.grid.lists:
            left: list[Point] = [{**chosen, **point} for point in points]
            for n, share in self.grid.rungs(len(points)):
                found: list[tuple[float, int, Point]] = []
                for settings in left[:n]:
                    trial = yield from self._trial(checkpoint, metric, f"trial {len(trials) + 1}", settings, share)
                    trials.append(trial)
                    found.append((-trial[metric] if trial["converged"] else math.inf, len(found), settings))
                left = [settings for _, _, settings in sorted(found, key=lambda each: each[:2])]
            if math.isinf(min(score for score, *_ in found)):
                raise UsageError(f"--grid of {self.mode}: every trial diverged; take smaller rates")
            chosen = left[0]
        verdict = yield from self._with(chosen, 1.0).run(checkpoint, metric, "last")
        return replace(verdict, trials=trials, chosen=dict(chosen))

    def _trial(  # noqa: PLR0917
        self, checkpoint: Checkpoint, metric: str, name: str, settings: Point, share: float
    ) -> Generator[Progress | Note, None, dict[str, Any]]:
        """Settings, steps and scores of the validation images; taken from the checkpoint where they are known."""
        if (known := checkpoint.record(name)) is not None:
            return dict(known)
        evaluation = replace(self._with(settings, share), others=())
        split = evaluation.split
        if evaluation.tuner.readout == "head":
            evaluation = replace(evaluation, split=replace(split, val=split.val[:0], test=split.val))
        verdict = yield from evaluation.run(checkpoint, metric, name)
        if verdict.path:
            best = max(verdict.path, key=lambda point: float(point[metric]))
            found = {name: best[name] for name in metrics_of("split")}
        else:
            dataset, logits = evaluation.source.images.dataset, verdict.logits
            if evaluation.tuner.readout != "head":  # it has diverged
                logits = logits.new_full((len(split.val), len(dataset.class_names)), torch.nan)
            found = scores(logits, torch.from_numpy(dataset.labels[split.val]).to(logits.device))
        facts = {"settings": dict(settings), "steps": verdict.training["steps"], **found}
        trial = {**facts, "converged": verdict.converged}
        yield from checkpoint.conclude(name, trial)
        return trial

    def _with(self, settings: Point, share: float) -> TunedEvaluation:
        """The evaluation with these settings, for a part of the steps."""
        tuner = with_settings(self.mode, self.evaluation.tuner, settings)
        assert isinstance(tuner, Tuning)  # noqa: S101 - for the type checker
        if share < 1:
            n_steps = tuner.n_steps(len(self.evaluation.split.train))
            tuner = replace(tuner, steps=max(1, round(share * n_steps)), epochs=0)
        return replace(self.evaluation, tuner=tuner)


def product(values: Mapping[tuple[str, ...], Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of values of settings, of which some have the same value: {("lr_body", "lr_head"): [0.1]}."""
    return [
        {name: value for names, value in zip(values, combination, strict=True) for name in names}
        for combination in itertools.product(*values.values())
    ]
