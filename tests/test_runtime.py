"""Devices by name."""

import pytest
import torch

from fewshot_bn.errors import DeviceError, UsageError
from fewshot_bn.runtime import choose_device, choose_devices

CPU = torch.device("cpu")


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
