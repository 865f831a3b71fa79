"""Several devices give the answer of one. Two workers on the CPU stand for two GPUs."""

import pytest
import torch
from reference.commands import answers, run

from fewshot_bn.adapters import make_adapter
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.evaluation.parallel import evaluate_on, replicas

CPU = torch.device("cpu")


def correct(outcomes):
    return [n for outcome in outcomes for n in outcome.correct]


@pytest.mark.parametrize("mode", ["lr", "bn", "bn-cdfsl"])
def test_two_devices_give_the_answer_of_one_in_the_same_order(source, episodes, mode):
    settings = {"bn": {"epochs": "2", "readout": "ridge"}, "bn-cdfsl": {"epochs": "3"}}
    adapter = make_adapter(mode, settings.get(mode))
    both = replicas(source, [CPU, CPU])
    assert both[1].backbone.module is not source.backbone.module
    expected = correct(evaluate(adapter, source, episodes, chunk=2))
    assert correct(evaluate_on(adapter, both, episodes, chunk=2)) == expected
    assert correct(evaluate_on(adapter, both, episodes)) == expected
    assert correct(evaluate_on(adapter, both[:1], episodes, chunk=2)) == expected


def test_an_error_on_one_device_ends_the_run(source, episodes):
    with pytest.raises(UsageError, match="scope 'nothing' matches none"):
        list(evaluate_on(make_adapter("bn", {"scope": "nothing"}), replicas(source, [CPU, CPU]), episodes, chunk=1))


def test_a_reader_that_stops_early_ends_the_run(source, episodes):
    outcomes = evaluate_on(make_adapter("bn-plain"), replicas(source, [CPU, CPU]), episodes, chunk=1)
    assert len(next(outcomes).correct) == 1
    outcomes.close()


def test_the_command_on_two_devices(here):
    for device in ("cpu", "cpu,cpu"):
        assert (
            run("--mode", "bn", "bn-cdfsl", "--set", "bn-cdfsl.epochs=2", "--device", device, "--output", device) == 0
        )
    assert answers(here / "cpu,cpu") == answers(here / "cpu")
