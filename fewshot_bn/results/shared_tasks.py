"""Tasks that have the same backbones, over which there are means."""

from collections.abc import Iterator, Sequence
from typing import get_args

from fewshot_bn.errors import some
from fewshot_bn.results.tasks import Regime, Task


def shared_tasks(tasks: Sequence[Task]) -> list[list[Task]]:
    """Of each regime the tasks that have all its backbones, if there are several."""
    found = []
    for regime in get_args(Regime):
        of_regime = [task for task in tasks if task.regime == regime]
        everyone = {name for task in of_regime for name in task.backbones}
        shared = [task for task in of_regime if everyone == set(task.backbones)]
        found += [shared] if len(shared) > 1 else []
    return found


def shared_modes(tasks: Sequence[Task]) -> list[str]:
    """Those that all tasks have, the reference first."""
    return [mode for mode in tasks[0].modes if all(mode in task.modes for task in tasks)]


def notes_on_means(tasks: Sequence[Task]) -> Iterator[str]:
    """What the means over tasks are without, or why there is none."""
    means = {shared[0].regime: shared for shared in shared_tasks(tasks)}
    for regime in get_args(Regime):
        of_regime = [task for task in tasks if task.regime == regime]
        if regime not in means:
            if len(of_regime) > 1:
                yield f"no mean over {regime} tasks: no two of them have all backbones that any of them has"
            continue
        names = {task.name for task in means[regime]}
        if others := [task.name for task in of_regime if task.name not in names]:
            yield f"the mean over {regime} tasks is without {some(others)}, which lack some backbones"
        modes = dict.fromkeys(mode for task in means[regime] for mode in task.modes)
        if lacking := [mode for mode in modes if mode not in shared_modes(means[regime])]:
            yield f"the mean over {regime} tasks is without {some(lacking)}, which some tasks lack"
