"""Which convolutions and linear layers of a network something is added to: by kind, and by a scope.

Scopes: `all`, but the convolutions that see the pixels, so that what they give stays a constant of each image; `last`
and `last-N`, those with weights in that scope of fine-tuning (scopes.py); or patterns of layer names with commas
between them, such as `layer4.*`.

Only a layer that is called on rows in the order of the images can be run episode by episode. A pass over two images
shows which are: code around a layer may use its weights without calling it (torchvision's Swin does so in attention),
or call it on rows of another order.

Of networks side by side (`a+b`), these are the layers of each; a pattern is of names with the place in front: `0.*`.
"""

import fnmatch
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fewshot_bn.adapters.tuning.norm_layers import shared_copy
from fewshot_bn.adapters.tuning.scopes import LAST_BLOCKS, choose_parameters
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.padding import SameConv2d
from fewshot_bn.errors import ModelError, UsageError, some

SCOPES = (
    "all but those that see the pixels; last, those of the last stage; last-N, those of the last N blocks; or patterns "
    "of layer names with commas between them, such as layer4.*"
)
N_PIXEL_CHANNELS = 3
INSTEAD = "--mode ft or ft-last, which train its own weights, work with any network"


def choose_convolutions(backbone: Backbone, scope: str) -> list[str]:
    """Names of the convolutions larger than 1x1 that `scope` means.

    Raises `ModelError` where the network has none, and `UsageError` where a pattern matches none of them.
    """

    def large(layer: nn.Module) -> bool:
        return isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1

    return _choose(backbone, scope, large, "convolution larger than 1x1")


def choose_matrices(backbone: Backbone, scope: str) -> list[str]:
    """Names of the layers that multiply by a matrix and that `scope` means.

    Those are linear layers, convolutions without groups, and torch's attention. Raises as `choose_convolutions`.
    """
    return _choose(backbone, scope, is_matrix, "linear layer and no convolution without groups")


def is_matrix(layer: nn.Module) -> bool:
    """Whether a low-rank product can be added to it."""
    if isinstance(layer, nn.MultiheadAttention):
        return (
            layer.batch_first and layer.in_proj_weight is not None and layer.bias_k is None and not layer.add_zero_attn
        )
    if isinstance(layer, nn.Conv2d):
        plain = type(layer).forward in (nn.Conv2d.forward, SameConv2d.forward) and layer.padding_mode == "zeros"
        return layer.groups == 1 and plain and not is_parametrized(layer)
    return isinstance(layer, nn.Linear)


def _choose(backbone: Backbone, scope: str, suits: Callable[[nn.Module], bool], what: str) -> list[str]:
    candidates = {name: layer for name, layer in backbone.module.named_modules() if suits(layer)}
    if not candidates:
        raise ModelError(f"{backbone.name}: has no {what}, which this mode adds to; {INSTEAD}")
    usable = _called_in_order(backbone, candidates)
    known = scope in ("all", "last") or LAST_BLOCKS.fullmatch(scope)
    if scope == "all":
        chosen = [name for name in usable if not _sees_pixels(candidates[name])]
    elif known:
        owners = {parameter.rpartition(".")[0] for parameter in choose_parameters(backbone, scope)}
        chosen = [name for name in usable if name in owners]
    else:
        chosen = _matching(backbone, list(candidates), usable, scope, what)
    if not chosen:
        raise ModelError(f"{backbone.name}: scope={scope} has no {what} that this mode can add to; {INSTEAD}")
    return chosen


def _matching(  # noqa: PLR0917
    backbone: Backbone, candidates: list[str], usable: list[str], scope: str, what: str
) -> list[str]:
    patterns = [part.strip() for part in scope.split(",")]
    for pattern in patterns:
        matched = [name for name in candidates if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise UsageError(
                f"{backbone.name}: scope {pattern!r} matches no {what} of its {len(candidates)} ({some(candidates)}); "
                f"choose from: {SCOPES}"
            )
        if not set(matched) & set(usable):
            raise ModelError(
                f"{backbone.name}: nothing can be added to {some(matched)}: code around it uses its weights without "
                f"calling it on the images in their order; {INSTEAD}"
            )
    return [name for name in usable if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def _sees_pixels(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.in_channels == N_PIXEL_CHANNELS


def _called_in_order(backbone: Backbone, candidates: Mapping[str, nn.Module]) -> list[str]:
    """Those that are called on rows of the first image, then of the second, as many for each."""
    first, second = (_first_halves(backbone, candidates, other) for other in (0, 1))
    return [
        name
        for name, sums in first.items()
        if name in second and all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(sums, second[name], strict=True))
    ]


@torch.no_grad()
def _first_halves(backbone: Backbone, candidates: Mapping[str, nn.Module], other: int) -> dict[str, list[float]]:
    """Sums of magnitudes over the first half of the rows that reach each layer, in the order of execution.

    The first of two images is always the same, the second is the `other`; the sums of a layer in their order tell which
    rows they are of. Without the layers whose input has no halves, and attention of one input to another.
    """
    view, sums, odd = shared_copy(backbone.module), dict[str, list[float]](), set[str]()

    def note(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        x = args[0] if args else None
        if not isinstance(x, Tensor) or x.ndim < 2 or len(x) % 2 or not _alone(args, kwargs):
            odd.add(name)
            return
        sums.setdefault(name, []).append(float(x[: len(x) // 2].abs().sum(dtype=torch.float64)))

    for name in candidates:
        hook = functools.partial(lambda name, _, args, kwargs: note(name, args, kwargs), name)
        view.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
    side, like = backbone.preprocessing.crop_px, next(view.parameters())
    ramp = torch.linspace(-2, 2, 3 * side * side).reshape(3, side, side).to(like)
    view(torch.stack([ramp, ramp.flip(1 + other)]))
    return {name: found for name, found in sums.items() if name not in odd}


def _alone(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a layer is called on one input alone, or attention on the same three times, without masks."""
    masks = (kwargs.get("key_padding_mask"), kwargs.get("attn_mask"))
    return all(arg is args[0] for arg in args) and masks == (None, None)
