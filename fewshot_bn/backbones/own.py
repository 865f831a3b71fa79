"""A network of the user's own as a backbone, which nothing that is done with the network afterwards can change."""

import copy
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from torch import nn

import fewshot_bn
from fewshot_bn.backbones.backbone import Backbone, freeze_in_place
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.files.own_code import code_of, reason_of
from fewshot_bn.preprocessing import Preprocessing

INSTALLED = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
PACKAGE = Path(fewshot_bn.__file__).parent


def freeze(
    network: nn.Module, name: str, weights: str, preprocessing: Preprocessing, *, architecture: str = ""
) -> Backbone:
    """A copy of `network` as a backbone: frozen, in eval mode. The network itself stays as it is, free to be trained.

    `network` gives features [b d] of images [b 3 h w]; `weights` is a name for its weights. Results and features are
    kept by what it is: weights and buffers, modules and their settings, and the code of classes that are no installed
    library's. `architecture` may say what these do not tell, such as an option that no module shows.

    Raises `ModelError` where it gives no feature vector per image, cannot be copied, or has a class whose code is not
    to be had, such as one that was typed into Python, and no `architecture` that stands for it.
    """
    try:
        copied = _uncompiled(copy.deepcopy(network))
    except Exception as problem:  # it is the user's code, which may raise anything
        why = f"the network cannot be copied ({reason_of(problem)}); build it anew and load its weights"
        raise ModelError(f"{name}: {why}") from problem
    told = [architecture, repr(copied)]
    try:
        told += _code(copied)
    except UsageError as problem:
        if not architecture:
            raise ModelError(f"{name}: {problem}, or name its version in architecture=") from problem
    return freeze_in_place(copied, name, weights, preprocessing, architecture="\n".join(told))


def _uncompiled(network: nn.Module) -> nn.Module:
    """As it was before `torch.compile`, which would compile anew for every form that episodes take."""
    network = _original(network)
    for module in network.modules():
        module._compiled_call_impl = None  # noqa: SLF001 - as of `network.compile()`
        for name, child in module.named_children():
            setattr(module, name, _original(child))
    return network


def _original(module: nn.Module) -> nn.Module:
    is_compiled = type(module).__name__ == "OptimizedModule"  # importing the class takes a second
    return cast(nn.Module, module._orig_mod) if is_compiled else module  # noqa: SLF001


def _code(network: nn.Module) -> Iterator[str]:
    """Digests of the code of the user's own classes."""
    kinds = {type(module) for module in network.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not _is_installed(kind):
            yield code_of(kind)


def _is_installed(kind: type) -> bool:
    try:
        path = Path(inspect.getfile(kind)).resolve()
    except (OSError, TypeError):  # from a notebook or from standard input
        return False
    return any(path.is_relative_to(folder.resolve()) for folder in (*INSTALLED, PACKAGE))
