"""Architectures that torchvision lacks, as feature extractors without a classifier: one file each, and an entry here.

Shapes: every network maps images [b 3 h w] to pooled or flattened features [b d].
Parameter names follow the public checkpoints of each architecture, so that those load strictly.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fewshot_bn.backbones.networks.bit_resnet import BitResNet
from fewshot_bn.backbones.networks.bottleneck_resnet import BottleneckResNet, SideBySide
from fewshot_bn.backbones.networks.cdfsl_resnet import CdfslResNet10
from fewshot_bn.backbones.networks.cifar_resnet import CifarResNet
from fewshot_bn.backbones.networks.clip_resnet import ClipResNet
from fewshot_bn.backbones.networks.conv4 import Conv4
from fewshot_bn.backbones.networks.mobilenet_v1 import MobileNetV1
from fewshot_bn.backbones.networks.regnet import regnet_y
from fewshot_bn.backbones.networks.resnet12 import ResNet12
from fewshot_bn.backbones.networks.vit import VisionTransformer
from fewshot_bn.backbones.networks.wide_resnet import WideResNet

__all__ = ["NETWORKS", "BottleneckResNet", "CifarResNet", "Conv4", "MobileNetV1", "SideBySide", "built", "regnet_y"]

MOST_ARGUMENT = 2**16  # such as a number of classes
MOST_VALUES = 2**30  # weights: 4 GiB

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "conv4": Conv4,
    "cifar_resnet": CifarResNet,
    "mobilenet_v1": MobileNetV1,
    "bottleneck_resnet": BottleneckResNet,
    "side_by_side": SideBySide,
    "regnet_y": regnet_y,
    "resnet12": ResNet12,
    "wide_resnet": WideResNet,
    "cdfsl_resnet10": CdfslResNet10,
    "bit_resnet": BitResNet,
    "clip_resnet": ClipResNet,
    "vit": VisionTransformer,
}


def built(build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """`build` called with the arguments of a card, which come from anywhere: first without memory for its weights.

    Raises `ValueError` where the network would be too large, and whatever `build` raises.
    """
    large = [name for name, value in arguments.items() if isinstance(value, int) and abs(value) > MOST_ARGUMENT]
    if large:
        raise ValueError(f"{', '.join(large)}: at most {MOST_ARGUMENT:,} is possible")
    n_values = _n_values(build, arguments) if arguments else 0
    if n_values > MOST_VALUES:
        raise ValueError(f"it would have {n_values:,} weights, at most {MOST_VALUES:,} are possible")
    return build(**arguments)


def _n_values(build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> int:
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build(**arguments).parameters())
    except NotImplementedError:  # RegNet computes with numbers of tensors while it is built
        return 0
