"""Small networks with random weights."""

import torch
from torch import nn

from fewshot_bn.backbones.backbone import Backbone, freeze_in_place
from fewshot_bn.inputs.images import normalise
from fewshot_bn.preprocessing import Preprocessing


class SmallNet(nn.Module):
    """A network with every kind of layer that matters to the engine: stem, shortcut, in-place ReLU, BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc, self.bn3 = nn.Linear(8, 6), nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = nn.functional.relu(x + self.bn2(self.conv2(x)), inplace=True)
        return self.bn3(self.fc(x.mean((2, 3))))


def small_backbone(seed: int = 0, dtype: torch.dtype = torch.float32) -> Backbone:
    """A `SmallNet` with random weights and random BatchNorm statistics, for images of 8 px."""
    generator = torch.Generator().manual_seed(seed)
    network = SmallNet()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
        if name.endswith("running_var") or (name.startswith("bn") and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    preprocessing = Preprocessing(8, 8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    backbone = freeze_in_place(network, "small", "", preprocessing, architecture="SmallNet")
    backbone.module.to(dtype)
    return backbone


def trained_on(backbone: Backbone, pixels: torch.Tensor) -> Backbone:
    """The same backbone with the BatchNorm statistics of these images, changed in place."""
    layers = [layer for layer in backbone.module.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = 1.0
    backbone.module.train()
    with torch.no_grad():
        backbone.module(normalise(pixels, backbone.preprocessing, torch.device("cpu")))
    backbone.module.eval()
    return backbone
