"""Which parameters of a network are fine-tuned, by a scope.

Scopes: `all`; `bias`, every bias and the shifts of norm layers; `scales`, the scales of norm layers; `last-3`, from the
third last block on, for any number; `last`, the last stage: from the first block on that puts out the smallest maps;
patterns of parameter names, e.g. `layer4.*`; or any of these with commas between them, e.g. `last,scales`.

Blocks are what a network repeats: the modules of that class whose instances hold the most weights together, without
lying in one another, and of classes that hold the same the finest (`Bottleneck` of a ResNet, `InvertedResidual` of a
MobileNetV2, `EncoderBlock` of a ViT).

Of networks side by side (`a+b`), these are the parameters of each; a pattern is of names with the place in front, such
as `0.*`.

Source of `bias`: Ben Zaken et al. 2022, arXiv:2106.10199 (BitFit).
"""

import fnmatch
import re

import torch
from torch import Tensor, nn

from fewshot_bn.adapters.tuning.norm_layers import affine_layers, shared_copy
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.norms import NORMS
from fewshot_bn.errors import ModelError, UsageError, some

LAST_BLOCKS = re.compile(r"last-([1-9][0-9]*)")
CHOICES = "all, bias, scales, last, last-N for the last N blocks, or patterns of parameter names"


def choose_parameters(backbone: Backbone, scope: str) -> list[str]:
    """Names of the parameters that `scope` means, in order.

    Raises `ModelError` where the network has none of that kind, and `UsageError` where a pattern matches nothing.
    """
    names = [name for name, value in backbone.module.named_parameters() if value.is_floating_point()]
    chosen = {name for part in scope.split(",") for name in _part(backbone, names, part.strip())}
    return [name for name in names if name in chosen]


def _part(backbone: Backbone, names: list[str], scope: str) -> list[str]:
    """Those of the names that a part of a scope means."""
    if scope == "all":
        return names
    if backbone.members and (scope in ("bias", "scales", "last") or LAST_BLOCKS.fullmatch(scope)):
        members = enumerate(backbone.members)
        return [f"{place}.{name}" for place, member in members for name in choose_parameters(member, scope)]
    if scope == "bias":
        chosen = [name for name in names if name.endswith("bias") and backbone.module.get_parameter(name).ndim == 1]
    elif scope == "scales":
        scales = {f"{name}.weight" for kind in NORMS for name in affine_layers(backbone.module, kind)}
        chosen = [name for name in names if name in scales]
    elif scope == "last":
        chosen = _from(names, _last_stage(backbone))
    elif found := LAST_BLOCKS.fullmatch(scope):
        chosen = _from(names, _last_blocks(backbone, int(found[1])))
    else:
        chosen = fnmatch.filter(names, scope)
        if not chosen:
            raise UsageError(
                f"{backbone.name}: scope {scope!r} matches none of its {len(names)} parameters ({some(names)}); "
                f"choose from: {CHOICES}"
            )
    if not chosen:
        raise ModelError(f"{backbone.name}: has no parameter of scope={scope}, which this mode tunes")
    return chosen


def blocks(network: nn.Module) -> list[str]:
    """Names of the repeated blocks, in order; none where a network repeats no module."""
    found: dict[type, list[str]] = {}
    for name, module in network.named_modules():
        if name and any(True for _ in module.children()) and type(module) not in (nn.Sequential, nn.ModuleList):
            names = found.setdefault(type(module), [])
            if not any(name.startswith(f"{outer}.") for outer in names):
                names.append(name)

    def rank(names: list[str]) -> tuple[int, int]:
        inside = {id(p): p.numel() for name in names for p in network.get_submodule(name).parameters()}
        return sum(inside.values()), len(names)

    repeated = [names for names in found.values() if len(names) > 1]
    return max(repeated, key=rank, default=[])


def _last_blocks(backbone: Backbone, n: int) -> str:
    found = blocks(backbone.module)
    if len(found) < n:
        has = f"repeats {len(found)} blocks" if found else "repeats no block"
        raise UsageError(f"{backbone.name}: scope=last-{n}, but it {has}; choose from: {CHOICES}")
    return found[-n]


def _last_stage(backbone: Backbone) -> str:
    """The first of the blocks that put out the smallest maps."""
    sizes = _output_sizes(backbone)
    smallest = min(sizes.values(), default=0)
    if len(set(sizes.values())) < 2:
        raise UsageError(
            f"{backbone.name}: scope=last, but it has no stages of blocks with maps of different size; take last-N, "
            "the last N blocks, or patterns of parameter names"
        )
    return next(name for name, size in sizes.items() if size == smallest)


def _output_sizes(backbone: Backbone) -> dict[str, int]:
    """Pixels of what each block puts out, for one image; only blocks that put out maps."""
    view, sizes = shared_copy(backbone.module), {}
    for name in blocks(view):

        def record(_: nn.Module, __: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                sizes[name] = min(output.shape[1] * output.shape[2], output.shape[2] * output.shape[3])

        view.get_submodule(name).register_forward_hook(record)
    side, like = backbone.preprocessing.crop_px, next(view.parameters())
    with torch.no_grad():
        view(like.new_zeros(2, 3, side, side))
    return sizes


def _from(names: list[str], block: str) -> list[str]:
    """The parameters of a block and all that are defined after it."""
    first = next((place for place, name in enumerate(names) if name.startswith(f"{block}.")), len(names))
    return names[first:]
