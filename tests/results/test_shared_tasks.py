from dataclasses import replace

import numpy as np
import pytest
from reference.ranked import task_of

from fewshot_bn.results.shared_tasks import notes_on_means, shared_modes, shared_tasks


def made(name, n_backbones=6, n_modes=3, regime="few-shot"):
    return replace(task_of(np.zeros((n_modes, n_backbones, 2)), name=name), regime=regime)


@pytest.mark.parametrize(
    ("tasks", "shared", "notes"),
    [
        ([made("a")], [], []),
        ([made("a"), made("b")], [["a", "b"]], []),
        ([made("a"), made("b", regime="many-shot")], [], []),
        (
            [made("a"), made("b", 5), made("c"), made("d", regime="many-shot"), made("e", regime="many-shot")],
            [["a", "c"], ["d", "e"]],
            ["the mean over few-shot tasks is without b, which lack some backbones"],
        ),
        (
            [made("a"), made("b", 5)],
            [],
            ["no mean over few-shot tasks: no two of them have all backbones that any of them has"],
        ),
        (
            [made("a"), made("b", n_modes=2)],
            [["a", "b"]],
            ["the mean over few-shot tasks is without proto, which some tasks lack"],
        ),
    ],
)
def test_means_are_over_the_tasks_of_a_regime_that_have_all_its_backbones(tasks, shared, notes):
    assert [[task.name for task in group] for group in shared_tasks(tasks)] == shared
    assert list(notes_on_means(tasks)) == notes


def test_modes_of_all_tasks():
    assert shared_modes([made("a"), made("b", n_modes=2)]) == ["ft", "lr"]
