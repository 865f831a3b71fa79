"""Several devices give the answer of one. Two workers on the CPU stand for two GPUs."""

import pytest
import torch
from reference.commands import answers, run
from reference.problems import adapter_with

from fewshot_bn.adapters import make_adapter
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.evaluation.parallel import OnDevices, replicas

CPU = torch.device("cpu")
BOTH = OnDevices([CPU, CPU])


def correct(outcomes):
    return [n for outcome in outcomes for n in outcome.correct]


@pytest.mark.parametrize("mode", ["lr", "bn", "bn-cdfsl"])
def test_two_devices_give_the_answer_of_one_in_the_same_order(source, episodes, mode):
    settings = {"bn": {"epochs": "2", "readout": "ridge"}, "bn-cdfsl": {"epochs": "3"}}
    adapter = adapter_with(mode, settings.get(mode, {}))
    expected = correct(evaluate(adapter, source, episodes, chunk=2))
    assert correct(evaluate(adapter, source, episodes, chunk=2, executor=BOTH)) == expected
    assert correct(evaluate(adapter, source, episodes, executor=BOTH)) == expected
    assert correct(evaluate(adapter, source, episodes, chunk=2, executor=OnDevices([CPU]))) == expected


def test_every_further_device_has_a_copy_of_the_network(source):
    first, second = replicas(source, [CPU, CPU])
    assert first is source
    assert second.backbone.module is not source.backbone.module


def test_an_error_on_one_device_ends_the_run(source, episodes):
    with pytest.raises(UsageError, match="scope 'nothing' matches none"):
        list(evaluate(adapter_with("bn", {"scope": "nothing"}), source, episodes, chunk=2, executor=BOTH))


def test_a_reader_that_stops_early_ends_the_run(source, episodes):
    outcomes = evaluate(make_adapter("bn-plain"), source, episodes, chunk=1, executor=BOTH)
    assert len(next(outcomes).correct) == 1
    outcomes.close()


def test_the_command_on_two_devices(here):
    for device in ("cpu", "cpu,cpu"):
        assert (
            run("--mode", "bn", "bn-cdfsl", "--set", "bn-cdfsl.epochs=2", "--device", device, "--output", device) == 0
        )
    assert answers(here / "cpu,cpu") == answers(here / "cpu")
