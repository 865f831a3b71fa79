"""On what a run computes: devices, the memory layout each is fast with, exact convolutions, versions.

The layout is that of images and convolutions. On a CPU it is channels last. On a GPU in full float32 it is torch's
default: cuDNN has its float32 kernels for that one, and torch its own for depthwise convolutions. In bfloat16 it is
channels last again, as tensor cores want it; the layout of the weights decides.
"""

import contextlib
import functools
import platform
from collections.abc import Callable, Generator, Iterable, Iterator
from importlib.metadata import version
from typing import ParamSpec, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot_bn.errors import DeviceError, UsageError

P = ParamSpec("P")
T = TypeVar("T")


def choose_devices(names: str) -> list[torch.device]:
    """One or several devices by name, or `all` CUDA devices. Raises `DeviceError` for one that is not there."""
    if names == "all":
        names = ",".join(f"cuda:{index}" for index in range(torch.cuda.device_count())) or "cuda"
    return [choose_device(name.strip()) for name in names.split(",")]


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one. Raises `DeviceError` for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise UsageError(f"unknown device {name!r}; choose from: auto, cpu, cuda, cuda:<index>") from problem
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:") or len(name) > len("cuda:99"):
        raise UsageError(f"unknown device {name!r}; choose from: auto, cpu, cuda, cuda:<index>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n = torch.cuda.device_count()
        raise DeviceError(f"device {name!r} is not there: {n} CUDA devices found; use --device auto or --device cpu")
    return device


def device_names(devices: Iterable[torch.device]) -> str:
    return ", ".join(_device_name(device) for device in devices)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


@functools.cache
def versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "pillow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def layout_for(device: torch.device) -> torch.memory_format:
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def in_layout(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The same images, copied where they lie otherwise."""
    return x.contiguous(memory_format=layout_for(x.device))


def move(network: nn.Module, device: torch.device | str) -> nn.Module:
    """The network itself, brought to a device, its convolutions in the layout for it."""
    layout = layout_for(torch.device(device))
    tensors = [*network.to(device).parameters(), *network.buffers()]
    if any(tensor.ndim == 5 for tensor in tensors):  # of convolutions over volumes, which have no such layout
        for tensor in tensors:
            tensor.data = tensor.data.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor.data
        return network
    return network.to(memory_format=layout)


def exact_convolutions() -> contextlib.AbstractContextManager[None]:
    """On a GPU, full float32 (no TF32) and algorithms that give the same answer every time; on a CPU, nothing."""
    exact: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return exact


@contextlib.contextmanager
def plain_torch() -> Iterator[None]:
    """Within it, whatever the caller has set does not count: autocast, inference mode, type and device of new tensors.

    Else features would be kept and results written that are not what their keys say.
    """
    kind, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if kind != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, kind)
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        yield


def in_plain_torch(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """A generator function whose every step is taken in plain torch; between them torch is as the caller has it."""

    @functools.wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with contextlib.closing(cast("Generator[T]", function(*args, **kwargs))) as inner:
            while True:
                with plain_torch():
                    try:
                        step = next(inner)
                    except StopIteration:
                        return
                yield step

    return steps
