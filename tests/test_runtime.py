"""Devices by name."""

import contextlib

import pytest
import torch
from torch import nn

from fewshot_bn.errors import DeviceError, UsageError
from fewshot_bn.runtime import choose_device, choose_devices, in_plain_torch, move, plain_torch

CPU = torch.device("cpu")


def test_convolutions_lie_as_their_kernels_take_them_beside_those_over_volumes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(2, 4, 3))
    before = [parameter.clone() for parameter in network.parameters()]
    assert move(network, "cpu")[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
    assert all(map(torch.equal, network.parameters(), before))


def test_devices():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "meta", "cuda:x"):
        with pytest.raises(UsageError, match=f"unknown device '{name}'"):
            choose_device(name)
    with pytest.raises(DeviceError, match="device 'cuda:99' is not there"):
        choose_device("cuda:99")


def test_devices_by_name():
    assert choose_devices("cpu,cpu") == [CPU, CPU]
    assert choose_devices("cpu") == [CPU]
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        choose_devices("cpu,gpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="device 'cuda' is not there"):
            choose_devices("all")


@contextlib.contextmanager
def disturbed():
    """torch as a notebook may have it."""
    kind, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(kind)
        torch.set_float32_matmul_precision(precision)


def state():
    made = torch.zeros(2, 2)
    return (
        (made.dtype, made.device.type, made.is_inference(), (made @ made).dtype),
        (torch.get_float32_matmul_precision(), torch.is_grad_enabled()),
    )


PLAIN = ((torch.float32, "cpu", False, torch.float32), ("highest", True))


def test_what_the_caller_has_set_counts_outside_alone():
    assert state() == PLAIN
    with disturbed():
        before = state()
        with plain_torch():
            assert state() == PLAIN
        assert state() == before != PLAIN


def test_each_step_of_a_generator_is_taken_in_plain_torch():
    @in_plain_torch
    def states(n):
        for _ in range(n):
            yield state()

    with disturbed():
        before, steps = state(), states(2)
        assert next(steps) == PLAIN
        assert state() == before
        assert list(steps) == [PLAIN]
        assert state() == before
