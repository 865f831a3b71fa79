"""Kinds of norm layers, one record each: adding a kind is an entry here."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True, slots=True)
class Norm:
    """Layers of the class `layer`: they have a scale, perhaps a shift, and perhaps keep statistics of past batches."""

    title: str
    layer: type[nn.Module]
    has_shift: bool = True
    keeps_statistics: bool = False


NORMS: dict[str, Norm] = {
    "batch": Norm("BatchNorm", _BatchNorm, keeps_statistics=True),
    "group": Norm("GroupNorm", nn.GroupNorm),
    "layer": Norm("LayerNorm", nn.LayerNorm),
    "rms": Norm("RMSNorm", nn.RMSNorm, has_shift=False),
}
