"""Norm layers that do more than normalise, opened so that they can be tuned: timm's BatchNorm with its activation.

Names of parameters and modules, and every output in eval mode, stay as they are.
"""

from jaxtyping import Float
from torch import Tensor, nn

FUSED = {"timm.layers.norm_act": ("BatchNormAct2d", "SyncBatchNormAct")}  # their eval mode is this module's forward


class BatchNormThenAct(nn.BatchNorm2d):
    """BatchNorm, and then what `drop` and `act` do."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:  # noqa: A002 - torch's name
        y: Tensor = self.act(self.drop(super().forward(input)))
        return y


def open_norms(network: nn.Module) -> None:
    """Turn timm's fused layers into `BatchNormThenAct`, in place."""
    for module in network.modules():
        kind = type(module)
        if kind.__name__ in FUSED.get(kind.__module__, ()):
            module.__class__ = BatchNormThenAct


def after_norm(layer: nn.Module) -> nn.Module:
    """What a BatchNorm layer does to the normalised values."""
    return nn.Sequential(layer.drop, layer.act) if isinstance(layer, BatchNormThenAct) else nn.Identity()
