"""Which norm layers of a network are tuned: by kind, and by a scope of names or of resolution.

Scopes: `all`; `bn23`, the stem and the second and third BatchNorm of every block (33 of the 53 layers of a ResNet-50,
0.16 % of its parameters); `last`, the last stage: every layer that sees the coarsest maps, and its siblings in the
first such block (`layer4` of a ResNet); or patterns of layer names with commas between them, e.g. `layer4.*,bn1`.

Source of `bn23`: Yazdanpanah et al. 2022, "Revisiting learnable affines for batch norm in few-shot transfer
learning", CVPR.

Of networks side by side (`a+b`), these are the layers of each; a pattern is of names with the place in front: `0.*`.
"""

import copy
import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.fused_norms import BatchNormThenAct
from fewshot_bn.backbones.norms import NORMS
from fewshot_bn.errors import ModelError, UsageError, some

# The second's eval mode is the first's, and what the third does after it is done episode by episode, too.
KNOWN_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward, BatchNormThenAct.forward)
NAMES = ("Norm", "Norm1d", "Norm2d", "Norm3d")
PATTERNS = {"all": ("*",), "bn23": ("bn1", "model[0-9].bn1", "*.bn2", "*.bn3")}  # the second of parallel_resnets


def affine_layers(network: nn.Module, kind: str) -> dict[str, nn.Module]:
    """The norm layers of this kind that have a scale, and a shift if the kind has, by name, in order."""
    norm = NORMS[kind]
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, norm.layer)
        and isinstance(module.weight, Tensor)
        and (not norm.has_shift or isinstance(getattr(module, "bias", None), Tensor))
    }


def choose_layers(backbone: Backbone, kind: str, scope: str) -> list[str]:
    """Names of the layers that `scope` means.

    Raises `ModelError` where the network has none of that kind, and `UsageError` where a pattern matches nothing.
    """
    if backbone.members and scope in (*PATTERNS, "last"):
        members = enumerate(backbone.members)
        return [f"{place}.{name}" for place, member in members for name in choose_layers(member, kind, scope)]
    layers, norm = affine_layers(backbone.module, kind), NORMS[kind]
    if not layers:
        kinds = [other for other in NORMS if affine_layers(backbone.module, other)]
        known = tuple(other.layer for other in NORMS.values())
        modules = [m for m in backbone.module.modules() if isinstance(m, known) or type(m).__name__.endswith(NAMES)]
        found = sorted({type(m).__name__ for m in modules})
        has = f"its norm layers are {', '.join(found)}" if found else "it has no norm layers"
        has += f"; {' or '.join(NORMS[other].option for other in kinds)} tunes those" if kinds else ""
        what = f"{norm.title} layer with {'scale and shift' if norm.has_shift else 'a scale'}"
        raise ModelError(f"{backbone.name}: no {what}, which this mode tunes; {has}")
    if norm.keeps_statistics:
        check_batch_norms(backbone, layers)
    if scope == "last":
        return _last_stage(layers, input_sizes(backbone, kind))
    patterns = PATTERNS.get(scope) or tuple(part.strip() for part in scope.split(","))
    for pattern in patterns:
        if scope not in PATTERNS and not fnmatch.filter(layers, pattern):
            raise UsageError(
                f"{backbone.name}: scope {pattern!r} matches none of its {len(layers)} {norm.title} layers "
                f"({some(list(layers))}); choose from: all, bn23, last, or patterns of layer names"
            )
    chosen = [name for name in layers if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if scope == "bn23" and not any(name.endswith(".bn2") for name in chosen):
        raise UsageError(
            f"{backbone.name}: scope bn23 needs blocks with layers named bn2, as in a ResNet; found {some([*layers])}"
        )
    return chosen


def check_batch_norms(backbone: Backbone, layers: Mapping[str, nn.Module]) -> None:
    """Raise `ModelError` where one of these BatchNorm layers cannot be run episode by episode."""
    for name, layer in layers.items():
        if layer.running_mean is None:
            raise ModelError(
                f"{backbone.name}: the BatchNorm layer {name} keeps no running statistics, so it has no eval mode"
            )
        if type(layer).forward not in KNOWN_FORWARDS:
            raise ModelError(
                f"{backbone.name}: the BatchNorm layer {name} is a {type(layer).__name__} with code of its own, which "
                "cannot be run episode by episode; build the network with nn.BatchNorm2d"
            )


def input_sizes(backbone: Backbone, kind: str) -> dict[str, torch.Size]:
    """Sizes of what reaches each layer, [c ...] without the batch, in the order of execution.

    Of a layer that is used more than once it is the smallest. Layers that take no part are left out.
    """
    sizes: dict[str, torch.Size] = {}
    view = shared_copy(backbone.module)
    for name, layer in affine_layers(view, kind).items():

        def record(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            size = inputs[0].shape[1:]
            sizes[name] = min(sizes.get(name, size), size, key=torch.Size.numel)

        layer.register_forward_pre_hook(record)
    side = backbone.preprocessing.crop_px
    reference = next(view.parameters())
    with torch.no_grad():
        view(torch.zeros(2, 3, side, side, device=reference.device, dtype=reference.dtype))
    return sizes


def check_batch_statistics(backbone: Backbone, layers: Sequence[str], n_images: int, what: str) -> None:
    """Raise `ModelError` where a batch of `n_images` gives a BatchNorm layer a single value per channel."""
    sizes = input_sizes(backbone, "batch")
    for name in layers:
        if name in sizes and n_images * math.prod(sizes[name][1:]) < 2:
            raise ModelError(
                f"{backbone.name}: the BatchNorm layer {name} sees maps of one pixel and {what} of one image, which "
                "has no batch statistics; take larger images, another batch_size or scope, or statistics=frozen"
            )


def shared_copy(network: nn.Module, converted: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of `network` that shares its tensors, except where `converted` has another by the id of the original.

    The network itself is never touched, so nothing needs to be put back, whatever happens in between.
    """
    tensors: Iterator[Tensor] = itertools.chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {**{id(tensor): tensor for tensor in tensors}, **(converted or {})})


def _last_stage(layers: Mapping[str, nn.Module], sizes: Mapping[str, torch.Size]) -> list[str]:
    places = {name: size.numel() // layers[name].state_dict()["weight"].numel() for name, size in sizes.items()}
    levels = sorted(set(places.values()))
    pooled = len(levels) > 1 and levels[0] == 1 and levels[1] > 4  # more than a stride of 2: the mean over a map
    coarsest = levels[1] if pooled else levels[0]
    chosen = [name for name in sizes if places[name] <= coarsest]
    block = chosen[0].rpartition(".")[0]
    return [name for name in sizes if name in chosen or (block and name.startswith(f"{block}."))]
