"""A network of the user's own as a backbone, which nothing that is done with the network afterwards can change."""

import copy
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

import fewshot_bn
from fewshot_bn import rng
from fewshot_bn.backbones.backbone import RANDOM, Backbone, Loaded, freeze_in_place
from fewshot_bn.backbones.build import randomise
from fewshot_bn.backbones.named_preprocessing import preprocessing_of
from fewshot_bn.errors import FewshotError, ModelError, UsageError
from fewshot_bn.files.atomic import digest, sha256_of
from fewshot_bn.files.own_code import code_of, is_own, load_module, load_object, reason_of
from fewshot_bn.preprocessing import Preprocessing

INSTALLED = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
PACKAGE = Path(fewshot_bn.__file__).parent
Load = Callable[[nn.Module, Path], None]
AS_BUILT = "as built"  # as the name of weights


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
    copied, told = _identified(network, name, architecture)
    return freeze_in_place(copied, name, weights, preprocessing, architecture=told)


def _identified(network: nn.Module, name: str, architecture: str) -> tuple[nn.Module, str]:
    """A copy of `network`, and what tells it from others of the same weights. Raises `ModelError`, as `freeze` does."""
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
    return copied, "\n".join(told)


def from_module(
    network: nn.Module,
    name: str,
    weights: str | None,
    *,
    preprocessing: object,
    load: Load,
    text: str = "",
    code: str = "",
) -> Loaded:
    """A copy of `network` with the weights of a file, which `load` puts into it, random ones, or those that it has.

    `text` names the factory that made it, `code` stands for what does not show in its modules.
    """
    prepared = preprocessing_of(preprocessing, lambda: _brought(network, text))
    copied, architecture = _identified(network, name, code)
    if weights == RANDOM:
        randomise(copied)
    elif weights is not None:
        load(copied, Path(weights))
    return Loaded(copied, name, weights or AS_BUILT, prepared, architecture)


def from_code(text: str, weights: str | None, preprocessing: object, load: Load) -> Loaded:
    """The network that `module:factory` names: what a function or class without arguments gives, or a network itself.

    Raises `UsageError` where there is no such name, and `ModelError` where it gives no network.
    """
    found = load_object(text)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            with rng.torch_state(0, "random weights"):
                found = found()
        except FewshotError:
            raise
        except (Exception, SystemExit) as problem:  # it is the user's code, which may raise anything
            raise ModelError(f"{text}: fails: {reason_of(problem)}") from problem
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"{text}: gives a {type(found).__name__}; an nn.Module, or a class or function that gives one without "
            "arguments, is needed"
        )
    place, _, factory = text.rpartition(":")
    name = f"{Path(place).stem if is_own(text) else place.rpartition('.')[2]}:{factory}"
    code = _code_beside(found, load_module(text))
    return from_module(found, name, weights, preprocessing=preprocessing, load=load, text=text, code=code)


def _code_beside(network: nn.Module, module: ModuleType) -> str:
    """A digest of the file of `module`, and of those of its package's classes in the network, installed or not."""
    package = module.__name__.partition(".")[0]
    names = {type(inner).__module__ for inner in network.modules()}
    modules = [module, *(sys.modules.get(name) for name in names if name.partition(".")[0] == package)]
    files = {Path(file) for one in modules if (file := getattr(one, "__file__", None)) and Path(file).is_file()}
    return digest(sorted(map(sha256_of, files)))


def _brought(network: nn.Module, text: str = "") -> Preprocessing:
    """The attribute `preprocessing` of a network, else of the factory that `text` names or of what stands beside it.

    It is a `Preprocessing` or a dict of its fields. Raises `ModelError` where there is none.
    """
    places: list[Any] = [network, *([load_object(text), load_module(text)] if text else [])]
    found = next((value for place in places if (value := getattr(place, "preprocessing", None)) is not None), None)
    where = text or type(network).__name__
    if isinstance(found, Preprocessing | Mapping):
        return preprocessing_of(found, Preprocessing)
    has = f"its preprocessing is a {type(found).__name__}" if found is not None else "it has no preprocessing"
    raise ModelError(
        f"{where}: {has}; give the network an attribute preprocessing (a Preprocessing or a dict of its fields), or a "
        "variable beside its factory; or take that of a card or a model: --preprocessing NAME; or say "
        "--preprocessing resize=256,crop=224,mean=0.5/0.5/0.5,std=0.5/0.5/0.5 (in Python: preprocessing=…)"
    )


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
