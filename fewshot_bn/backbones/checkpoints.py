"""Read weights that others saved: safely, strictly, and with an explicit list of what may be dropped or lacking.

Security: safetensors, or files of torch.save as torch_files.py reads them; nothing is ever run or made beyond tensors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fewshot_bn.backbones.torch_files import read_torch_file
from fewshot_bn.errors import ModelError, some

PART = re.compile(r".*-\d{5}-of-\d{5}\..*")
MERGE = "load the parts in Python, put them into one dictionary (a | b), and write it with safetensors.torch.save_file"


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How the keys of a checkpoint become the keys of a network.

    `unwrap` is the entry that holds the tensors ("a.b" for an entry of an entry); `drop` are patterns of (original)
    keys to leave out, such as heads; `prefix` is taken off every other key, and keys without it are an error.

    `rename` then replaces the beginning of each key: of the entries that it begins with only one, the one of most
    characters. A part "*" between dots stands for any one part; each "*" of the new beginning is filled in turn. Keys
    that begin with none stay as they are. `may_lack` are patterns of network keys that need not be there.
    """

    unwrap: str = ""
    prefix: str = ""
    drop: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ("*.num_batches_tracked",)
    rename: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for old, new in self.rename.items():
            odd = [part for part in (old + "." + new).split(".") if "*" in part and part != "*"]
            if not old or odd or new.count("*") > old.count("*"):
                raise ModelError(
                    f"rename: {old!r} to {new!r}: the beginning of a key is needed, in which * is a whole part between "
                    "dots, and no more of them in the new than in the old"
                )


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
        content = load_file(path) if path.suffix == ".safetensors" else read_torch_file(path)
    except ModelError:
        raise
    except FileNotFoundError as problem:  # safetensors gives no error number
        raise ModelError(f"{path}: these weights cannot be read: No such file or directory") from problem
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
    _check_names(content, str(path))
    return content


def _check_names(content: Mapping[Any, Any], where: str) -> None:
    strange = [key for key in content if not isinstance(key, str)]
    if strange:
        raise ModelError(f"{where}: keys that are no names: {some(strange)}")


def tensors_of(content: Mapping[str, Any], rules: KeyRules, where: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of the network."""
    for part in filter(None, rules.unwrap.split(".")):
        if part not in content or not isinstance(content[part], Mapping):
            raise ModelError(f"{where}: no entry {part!r} that holds tensors; its entries are {some(list(content))}")
        content = content[part]
    _check_names(content, where)
    kept = {k: v for k, v in content.items() if not any(fnmatchcase(k, pattern) for pattern in rules.drop)}
    others = [k for k, v in kept.items() if not isinstance(v, Tensor)]
    if others:
        raise ModelError(
            f"{where}: entries that are no tensors: {some(others)}; name the entry of the weights (unwrap)"
        )
    strange = [k for k in kept if not k.startswith(rules.prefix)]
    if strange:
        raise ModelError(f"{where}: keys without the prefix {rules.prefix!r} that are not dropped: {some(strange)}")
    names = renamed([k.removeprefix(rules.prefix) for k in kept], rules.rename)
    origin: dict[str, str] = {}
    for key, name in zip(kept, names, strict=True):
        if name in origin:
            raise ModelError(f"{where}: rename makes {name!r} of two keys, {origin[name]!r} and {key!r}")
        origin[name] = key
    return {name: kept[key] for name, key in origin.items()}


def renamed(keys: Sequence[str], rename: Mapping[str, str]) -> list[str]:
    """`keys` as `KeyRules.rename` says."""
    if not rename:
        return list(keys)
    rules = [
        (re.compile(re.escape(old).replace(r"\*", "([^.]+)")), new)
        for old, new in sorted(rename.items(), key=lambda rule: -len(rule[0]))
    ]
    return [_renamed(key, rules) for key in keys]


def _renamed(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for old, new in rules:
        if found := old.match(key):
            for part in found.groups():
                new = new.replace("*", part, 1)  # noqa: PLW2901
            return new + key[found.end() :]
    return key


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor], may_lack: Sequence[str], where: str) -> None:
    """Copy `tensors` into `network`. Raises `ModelError` that shows the first keys that do not fit."""
    own = network.state_dict()
    missing = [k for k in own if k not in tensors and not any(fnmatchcase(k, pattern) for pattern in may_lack)]
    unexpected = [k for k in tensors if k not in own]
    shapes = [
        f"{k} is {tuple(tensors[k].shape)} instead of {tuple(v.shape)}"
        for k, v in own.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    kinds = [f"{k} is {v.dtype}, {v.layout}" for k, v in tensors.items() if k in own and not fits(v, own[k])]
    plain = {k: v for k, v in tensors.items() if k in own and fits(v, own[k]) and v.shape == own[k].shape}
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": shapes,
        "of another kind": kinds,
        "not finite": [k for k, v in plain.items() if not bool(v.isfinite().all())],
        "negative": [k for k, v in plain.items() if k.endswith("running_var") and bool((v < 0).any())],
    }
    found = [f"{len(keys)} {fault} ({some(keys)})" for fault, keys in faults.items() if keys]
    if found:
        part = f"; its name says that it is one of several parts: {MERGE}" if PART.fullmatch(Path(where).name) else ""
        raise ModelError(f"{where}: these weights do not fit the network: {'; '.join(found)}{part}")
    own.update(tensors)  # keeps the versions of layers, which some networks ask for
    network.load_state_dict(own)


def fits(value: Tensor, own: Tensor) -> bool:
    """Plain numbers of the same kind: 16, 32 or 64 bits for weights, whole numbers for counters."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    if own.is_floating_point():
        return value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return value.dtype == own.dtype
