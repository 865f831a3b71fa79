"""Networks of timm as feature extractors, imported only if one is asked for as `timm:NAME` or `timm:NAME.TAG`.

A tag, such as `a1_in1k` of `resnet18.a1_in1k`, is the name of pretrained weights. Preprocessing, the layers of the head
and, where it is fixed, the size of the images come from the pretrained configuration of timm.
"""

import importlib
import math
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewshot_bn import rng
from fewshot_bn.backbones.networks import built
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.preprocessing import Preprocessing

FILES = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")  # a card has its own
FILTERS = ("checkpoint_filter_fn", "_filter_fn")  # timm's name for what turns the files of others into its own


def names() -> list[str]:
    """With and without tags."""
    timm = _module("timm")
    return [*timm.list_models(), *timm.list_pretrained()]


def named(name: str, weights: str | None) -> tuple[str, str | None]:
    """A tag is part of the name, whether it is given there or as the name of weights; else it is timm's default one."""
    network, _, tag = name.partition(".")
    if weights in _tags(network):
        if tag and tag != weights:
            raise UsageError(f"timm:{name} is asked for with the weights {weights}; give one of the two")
        return f"{network}.{weights}", weights
    default = tag or _configuration(network)["tag"]
    return f"{network}.{default}" if default in _tags(network) else network, weights


def build_headless(name: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, tuple[str, ...]]:
    """The network `name` without its classifier, and the layers of that. Weights are a fixed draw."""
    if name not in names():
        raise unknown("timm network", name, names())
    if strange := [argument for argument in arguments if argument in FILES]:
        raise ModelError(f"timm:{name}: {', '.join(strange)}: no argument of a network; weights are named in the card")

    def build(**more: Any) -> nn.Module:
        network: nn.Module = _module("timm").create_model(name, **{**more, "num_classes": 0})
        return network

    try:
        with rng.torch_state(0, "random weights"):
            network = built(build, arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as problem:
        raise ModelError(f"timm:{name}: cannot be built with {dict(arguments)}: {problem}") from problem
    for module in network.modules():  # at zero, as residual branches start, an untrained network would have none
        scale = getattr(module, "weight", None)
        if "Norm" in type(module).__name__ and isinstance(scale, nn.Parameter) and scale.ndim == 1 and not scale.any():
            nn.init.ones_(scale)
    heads = _configuration(name)["classifier"] or ()
    return network, (heads,) if isinstance(heads, str) else tuple(heads)


def official_weights(name: str, weights: str | None) -> tuple[str, dict[str, Tensor]]:
    """The pretrained weights of a network with its tag, which timm looks for in its caches and then downloads."""
    network, _, tag = name.partition(".")
    if weights not in (None, tag):
        kind, choices = f"weights of timm:{network}", [*_tags(network), "random"]
        raise UsageError(f"{unknown(kind, str(weights), choices)}, or give the path of a file")
    if tag not in _tags(network):
        raise ModelError(
            f"timm:{network}: timm has no pretrained weights of it; give the path of a file, or random, with --weights"
        )
    try:
        with rng.torch_state(0, "random weights"):
            state = _module("timm").create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as problem:  # of timm, its hub and their transports, which raise many kinds
        where = _configuration(name)
        file = where["hf_hub_filename"] or "model.safetensors"
        place = f"https://huggingface.co/{where['hf_hub_id']} ({file})" if where["hf_hub_id"] else where["url"]
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise ModelError(
            f"timm:{name}: its weights could not be had from {place}: {reason}; download that file by hand and give "
            "its path with --weights, or put it into the cache of the hub ($HF_HOME)"
        ) from problem
    return tag, dict(state)


def official_preprocessing(name: str, weights: str | None = None) -> Preprocessing:
    """What timm does to images for validation. Raises `ModelError` where that cannot be done here."""
    del weights  # they are the tag of the name
    found = _module("timm.data").resolve_data_config(pretrained_cfg=_configuration(name))
    channels, height, width = found["input_size"]
    facts: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("channels", channels, (3,)),
        ("width", width, (height,)),
        ("crop_mode", found["crop_mode"], ("center", "squash")),
        ("interpolation", found["interpolation"], ("bilinear", "bicubic")),
    ]
    for what, value, possible in facts:
        if value not in possible:
            needed = " or ".join(map(str, possible))
            raise ModelError(
                f"timm:{name}: its preprocessing has {what} {value}, which is not done here ({needed} is); say with "
                "--preprocessing what to do instead"
            )
    (r, g, b), (r_std, g_std, b_std) = found["mean"], found["std"]
    return Preprocessing(
        resize_px=math.floor(height / found["crop_pct"]),
        crop_px=height,
        keep_aspect=found["crop_mode"] == "center",
        interpolation=found["interpolation"],
        mean=(float(r), float(g), float(b)),
        std=(float(r_std), float(g_std), float(b_std)),
    )


def converted(content: Mapping[str, Any], network: nn.Module) -> Mapping[str, Any] | None:
    """What timm's own function for this network makes of a checkpoint of another origin; None where it has none."""
    module = sys.modules[type(network).__module__]
    convert = next((getattr(module, name) for name in FILTERS if hasattr(module, name)), None)
    if convert is None:
        return None
    try:
        found = convert(dict(content), network)
    except Exception:  # it indexes and reshapes as if every file were one that it knows
        return None
    return found if isinstance(found, Mapping) else None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise UsageError(f"timm:NAME needs timm ({problem}): pip install 'fewshot_bn[timm]'") from problem


def _tags(network: str) -> list[str]:
    found = (name.partition(".") for name in _module("timm").list_pretrained())
    return [tag for name, _, tag in found if name == network]


def _configuration(name: str) -> dict[str, Any]:
    """Its pretrained configuration, that of the default tag where the name has none."""
    found = _module("timm.models").get_pretrained_cfg(name)
    empty = dict.fromkeys(("tag", "classifier", "hf_hub_id", "hf_hub_filename", "url"), "")
    return {"input_size": (3, 224, 224), **empty, **(found.to_dict() if found else {})}
