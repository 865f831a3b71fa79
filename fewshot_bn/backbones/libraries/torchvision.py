"""Torchvision's classification networks as feature extractors, with their official weights.

The last linear layer of a classification network is its head; without it the network gives its features.
"""

import re
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from typing import Any

from torch import Tensor, nn

from fewshot_bn import rng
from fewshot_bn.backbones.networks import built
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.preprocessing import Preprocessing


def names() -> list[str]:
    from torchvision import models

    found: list[str] = models.list_models(module=models)
    return found


def build_headless(name: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, tuple[str, ...]]:
    """The network `name` without its last linear layer, and the name of that layer. Weights are a fixed draw."""
    from torchvision import models

    if name not in names():
        raise unknown("torchvision network", name, names())
    quiet = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    try:
        with rng.torch_state(0, "random weights"):
            network = built(partial(models.get_model, name, weights=None, **quiet), arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as problem:
        raise ModelError(f"{name}: cannot be built with {dict(arguments)}: {problem}") from problem
    linear = [layer for layer, module in network.named_modules() if type(module) is nn.Linear]
    if not linear:
        raise ModelError(f"{name}: has no linear layer to take off, so its features are not defined here")
    network.set_submodule(linear[-1], nn.Identity())
    return network, (linear[-1],)


def family(network: nn.Module, first: str = "") -> list[str]:
    """The networks that the code of `network` builds, those of about its size first, and before them `first`."""
    from torchvision import models

    same_code = [name for name in names() if models.get_model_builder(name).__module__ == type(network).__module__]
    n_own = sum(parameter.numel() for parameter in network.parameters())
    sizes = {name: next(iter(models.get_model_weights(name))).meta["num_params"] for name in same_code}
    return sorted(same_code, key=lambda name: (name != first, sizes[name] < n_own, abs(sizes[name] - n_own)))[:5]


def official_weights(name: str, weights: str | None) -> tuple[str, dict[str, Tensor]]:
    """The official weights called `weights` (default: IMAGENET1K_V1, the ones of the published tables).

    They are downloaded once by torch.hub, which checks the hash in the file's name.
    """
    if weights is None:
        choices = _official(name)
        weights = "IMAGENET1K_V1" if "IMAGENET1K_V1" in choices else next(iter(choices))
    member = _member(name, weights)
    try:
        state = member.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, HTTPException) as problem:
        raise ModelError(
            f"{name}: the weights {weights} could not be downloaded from {member.url} ({problem}); download that file "
            "by hand and give its path with --weights"
        ) from problem
    if name.startswith("densenet"):  # these files are older than the names of the layers
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key): value for key, value in state.items()}
    return weights, dict(state)


def official_preprocessing(name: str, weights: str | None = None) -> Preprocessing:
    """The preprocessing that torchvision documents for the network's weights (by default its first)."""
    member = _member(name, weights) if weights else next(iter(_official(name).values()))
    transform = member.transforms()
    return Preprocessing(
        resize_px=transform.resize_size[0],
        crop_px=transform.crop_size[0],
        keep_aspect=True,
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def _official(name: str) -> dict[str, Any]:
    from torchvision import models

    return {member.name: member for member in models.get_model_weights(name)}


def _member(name: str, weights: str) -> Any:
    choices = _official(name)
    if weights not in choices:
        raise UsageError(f"{unknown(f'weights of {name}', weights, [*choices, 'random'])}, or give the path of a file")
    return choices[weights]
