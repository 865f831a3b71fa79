"""Read weights that others saved, safely; put them into a network, strictly.

Security: safetensors, or what torch_files.py and npz_files.py read; nothing is ever run, or made beyond tensors and
plain containers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fewshot_bn.backbones.checkpoints.keys import check_names
from fewshot_bn.backbones.checkpoints.kinds import ending_of
from fewshot_bn.backbones.checkpoints.npz_files import read_npz_file
from fewshot_bn.backbones.checkpoints.torch_files import read_torch_file
from fewshot_bn.errors import ModelError, some

PART = re.compile(r".*-\d{5}-of-\d{5}\..*")
READERS: dict[str, Callable[[Path], Any]] = {".safetensors": load_file, ".npz": read_npz_file}  # others: torch.save
MERGE = "load the parts in Python, put them into one dictionary (a | b), and write it with safetensors.torch.save_file"


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Everything in the file, on the CPU. Raises `ModelError` where it is unreadable or would run code."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise ModelError(f"{path}: these weights cannot be read: it is {what}, a file is needed")
    if path.name.endswith(".index.json"):
        raise ModelError(f"{path}: is a list of files that hold the weights in parts; {MERGE}")
    if path.as_posix().startswith(("http:/", "https:/")):
        raise ModelError(f"{path}: is an address; download it, and name the file")
    try:
        content = READERS.get(ending_of(path), read_torch_file)(path)
    except ModelError:
        raise
    except Exception as problem:  # torch and safetensors raise many kinds; all of them mean an unreadable file
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        if isinstance(problem, OSError) and problem.strerror:
            raise ModelError(f"{path}: these weights cannot be read: {problem.strerror}") from problem
        raise ModelError(
            f"{path}: these weights cannot be read: the file is damaged, incomplete or of another format ({reason}); "
            "get it again"
        ) from problem
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, a dictionary of tensors is needed")
    check_names(content, str(path))
    return content


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor], may_lack: Sequence[str], where: str) -> None:
    """Copy `tensors` into `network`. Raises `ModelError` that shows the first keys that do not fit."""
    check_fit(network.state_dict(), tensors, may_lack, where)
    fill(network, tensors)


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors`, which are known to fit, into `network`."""
    own = network.state_dict()
    own.update(tensors)  # keeps the versions of layers, which some networks ask for
    network.load_state_dict(own)


def check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], may_lack: Sequence[str], where: str) -> None:
    """Raises `ModelError` that shows the first keys of `tensors` that do not fit those of a network."""
    faults = {**misfits(own, tensors, may_lack), **_spoilt(own, tensors)}
    found = [f"{len(keys)} {fault} ({some(keys)})" for fault, keys in faults.items() if keys]
    if found:
        part = f"; its name says that it is one of several parts: {MERGE}" if PART.fullmatch(Path(where).name) else ""
        raise ModelError(f"{where}: these weights do not fit the network: {'; '.join(found)}{part}")


def misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], may_lack: Sequence[str]) -> dict[str, list[str]]:
    """The keys by which names, shapes and types are not those of `own`, which may be on the meta device."""
    kinds = [f"{k} is {v.dtype}, {v.layout}" for k, v in tensors.items() if k in own and not fits(v, own[k])]
    shapes = [
        f"{k} is {tuple(tensors[k].shape)} instead of {tuple(v.shape)}"
        for k, v in own.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    return {
        "missing": [k for k in own if k not in tensors and not any(fnmatchcase(k, pattern) for pattern in may_lack)],
        "unexpected": [k for k in tensors if k not in own],
        "of another shape": shapes,
        "of another kind": kinds,
    }


def _spoilt(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The keys of tensors that fit, and hold what no weights can be."""
    plain = {k: v for k, v in tensors.items() if k in own and fits(v, own[k]) and v.shape == own[k].shape}
    return {
        "not finite": [k for k, v in plain.items() if not bool(v.isfinite().all())],
        "negative": [k for k, v in plain.items() if k.endswith("running_var") and bool((v < 0).any())],
    }


def is_plain(value: Tensor) -> bool:
    """Whether it holds numbers, all of them."""
    return value.layout == torch.strided and not value.is_meta and not value.is_quantized


def fits(value: Tensor, own: Tensor) -> bool:
    """Plain numbers of the same kind: 16, 32 or 64 bits for weights, whole numbers for counters."""
    if not is_plain(value):
        return False
    if own.is_floating_point():
        return value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return value.dtype == own.dtype
