"""Kinds of norm layers, one record each: adding a kind is an entry here."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True, slots=True)
class Norm:
    """Layers of the class `layer`: they have a scale, perhaps a shift, and perhaps keep statistics of past batches.

    `option` is what tunes them at the command line.
    """

    title: str
    layer: type[nn.Module]
    option: str
    has_shift: bool = True
    keeps_statistics: bool = False


NORMS: dict[str, Norm] = {
    "batch": Norm("BatchNorm", _BatchNorm, "--mode bn", keeps_statistics=True),
    "group": Norm("GroupNorm", nn.GroupNorm, "--mode gn"),
    "layer": Norm("LayerNorm", nn.LayerNorm, "--mode ln"),
    "rms": Norm("RMSNorm", nn.RMSNorm, "--set bn.norm=rms", has_shift=False),
}
