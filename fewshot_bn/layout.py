"""The memory layout of images and convolutions: the one that each kind of device is fast with.

On a CPU that is channels last. On a GPU in full float32 it is torch's default: cuDNN has its float32 kernels for that
one, and torch its own for depthwise convolutions. In bfloat16 it is channels last again, as tensor cores want it; the
layout of the weights decides.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def layout_for(device: torch.device) -> torch.memory_format:
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def in_layout(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The same images, copied where they lie otherwise."""
    return x.contiguous(memory_format=layout_for(x.device))


def move(network: nn.Module, device: torch.device | str) -> nn.Module:
    """The network itself, brought to a device, its convolutions in the layout for it."""
    return network.to(device).to(memory_format=layout_for(torch.device(device)))
