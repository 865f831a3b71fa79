"""What every scope of norm tuning tunes in a network: how many layers and values, and their share of all parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from fewshot_bn.adapters.tuning.norm_layers import PATTERNS, affine_layers, choose_layers
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.norms import NORMS
from fewshot_bn.errors import ModelError, UsageError


@dataclass(frozen=True, slots=True)
class Scope:
    """`values` are scales and shifts; `share` is that of all parameters of the network, from 0 to 1."""

    kind: str
    name: str
    n_layers: int
    n_values: int
    share: float


def scopes(backbone: Backbone) -> Iterator[Scope]:
    """Those that the network has layers for, by kind of norm layers. Its weights do not matter."""
    n_parameters = sum(parameter.numel() for parameter in backbone.module.parameters())
    for kind in NORMS:
        layers = affine_layers(backbone.module, kind)
        for name in (*PATTERNS, "last") if layers else ():
            try:
                chosen = choose_layers(backbone, kind, name)
            except (ModelError, UsageError):  # such as blocks that have no bn2
                continue
            n_values = sum(map(_n_values, (layers[layer] for layer in chosen)))
            yield Scope(kind, name, len(chosen), n_values, n_values / n_parameters)


def _n_values(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters(recurse=False))
