"""RegNetY of any size as torchvision builds it, by the four numbers that its widths and depths follow from.

torchvision works them out with tensors; here they are on the CPU even where the network is built without memory.
Source: Radosavovic et al. 2020, arXiv:2003.13678, equations 2 to 4.
"""

import torch
from torch import nn

SE_RATIO = 0.25


def regnet_y(depth: int, *, w_0: int, w_a: float, w_m: float, group_width: int) -> nn.Module:
    """Maps images [b 3 h w] to pooled features [b d], d the width of the last stage."""
    from torchvision.models.regnet import BlockParams, RegNet

    with torch.device("cpu"):
        blocks = BlockParams.from_init_params(
            depth=depth, w_0=w_0, w_a=w_a, w_m=w_m, group_width=group_width, se_ratio=SE_RATIO
        )
    network: nn.Module = RegNet(blocks, num_classes=1)
    network.fc = nn.Identity()
    return network
