"""RegNetY by its four numbers: torchvision's, and buildable without memory."""

import torch
from torchvision.models import regnet_y_400mf

from fewshot_bn.backbones.networks import regnet_y

OF_400_MF = {"depth": 16, "w_0": 48, "w_a": 27.89, "w_m": 2.09, "group_width": 8}


def test_it_is_torchvisions_of_the_same_numbers():
    ours, theirs = regnet_y(**OF_400_MF).eval(), regnet_y_400mf().eval()
    theirs.fc = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


def test_it_is_built_without_memory():
    with torch.device("meta"):
        network = regnet_y(**OF_400_MF)
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}
    assert network(torch.zeros(1, 3, 48, 48, device="meta")).shape == (1, 440)
