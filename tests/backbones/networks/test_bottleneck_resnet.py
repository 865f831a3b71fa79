"""ResNets of bottlenecks: like torchvision's where they are as wide, and as large as published where they are wider."""

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from fewshot_bn.backbones.networks import NETWORKS, BottleneckResNet, SideBySide, built

IMAGES = torch.rand(2, 3, 65, 48, generator=torch.Generator().manual_seed(0))


def test_it_is_torchvisions_where_it_is_as_wide():
    ours, theirs = BottleneckResNet(blocks=(1, 2, 1, 1)).eval(), ResNet(Bottleneck, [1, 2, 1, 1]).eval()
    theirs.fc = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), rtol=0, atol=0)


@pytest.mark.parametrize(("width", "millions"), [(1, 23.5), (2, 93.9), (4, 375.4), (5, 586.5)])
def test_it_has_as_many_weights_as_published(width, millions):
    with torch.device("meta"):
        network = BottleneckResNet(64 * width)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(millions * 1e6, abs=5e4)


def test_side_by_side_has_the_features_of_each_one_after_the_other():
    network = SideBySide(3, channels=4, blocks=(1, 1, 1, 1)).eval()
    parts = [network.get_submodule(f"model{i}")(IMAGES) for i in range(3)]
    assert not torch.equal(parts[0], parts[1])
    assert torch.equal(network(IMAGES), torch.cat(parts, dim=1))


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("bottleneck_resnet", {"blocks": [1, 1]}, r"blocks are \[1, 1\]; 4 numbers are needed"),
        ("bottleneck_resnet", {"channels": 640}, r"it would have 2,345,\d{3},\d{3} weights"),
        ("side_by_side", {"members": 0}, "members is 0; 1 or more are needed"),
    ],
)
def test_what_cannot_be_built_is_said(name, arguments, match):
    with pytest.raises(ValueError, match=match):
        built(NETWORKS[name], arguments)
