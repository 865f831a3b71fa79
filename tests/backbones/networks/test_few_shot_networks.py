"""Networks of few-shot work, against functions of their weights that are written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewshot_bn.backbones.networks import NETWORKS


def random_state(network):
    generator = torch.Generator().manual_seed(0)
    network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.state_dict()


def bn(x, w, name):
    shape = (1, -1, 1, 1)
    scale = w[f"{name}.weight"] / (w[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - w[f"{name}.running_mean"].view(shape)) * scale.view(shape) + w[f"{name}.bias"].view(shape)


def conv(x, w, name, stride=1, padding=0):
    return F.conv2d(x, w[f"{name}.weight"], None, stride, padding)


def leaky(x):
    return x.maximum(0.1 * x)


def cdfsl(w, x):
    x = F.max_pool2d(bn(conv(x, w, "trunk.0", 2, 3), w, "trunk.1").relu(), 3, 2, 1)
    for stage, stride in enumerate((1, 2, 2, 2)):
        front = f"trunk.{4 + stage}."
        y = bn(conv(x, w, front + "C1", stride, 1), w, front + "BN1").relu()
        y = bn(conv(y, w, front + "C2", 1, 1), w, front + "BN2")
        x = (y + (bn(conv(x, w, front + "shortcut", stride), w, front + "BNshortcut") if stage else x)).relu()
    return F.avg_pool2d(x, 7).flatten(1)  # as the benchmark has it, for images of 224 px


def resnet12(w, x):
    for stage in range(1, 5):
        front = f"layer{stage}.0."
        y = leaky(bn(conv(x, w, front + "conv1", 1, 1), w, front + "bn1"))
        y = leaky(bn(conv(y, w, front + "conv2", 1, 1), w, front + "bn2"))
        y = bn(conv(y, w, front + "conv3", 1, 1), w, front + "bn3")
        x = F.max_pool2d(leaky(y + bn(conv(x, w, front + "downsample.0"), w, front + "downsample.1")), 2)
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def wide_resnet(w, x):
    x = conv(x, w, "conv1", 1, 1)
    for stage in (1, 2, 3):
        for place in range(2):
            front, stride = f"block{stage}.layer.{place}.", 2 if stage > 1 and place == 0 else 1
            first = bn(x, w, front + "bn1").relu()
            y = conv(bn(conv(first, w, front + "conv1", stride, 1), w, front + "bn2").relu(), w, front + "conv2", 1, 1)
            x = y + (conv(first, w, front + "convShortcut", stride) if place == 0 else x)
    return bn(x, w, "bn1").relu().mean((2, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "side", "written_out"),
    [
        ("cdfsl_resnet10", {"width": 4}, 224, cdfsl),
        pytest.param("resnet12", {}, 21, resnet12, marks=pytest.mark.full),
        ("wide_resnet", {"depth": 16, "widening": 2}, 20, wide_resnet),
    ],
)
def test_equals_what_is_written_out(name, arguments, side, written_out):
    network = NETWORKS[name](**arguments)
    state = random_state(network)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = written_out(state, x.clone())
    assert expected.std() > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.full
def test_unpooled_features_are_the_maps_whose_mean_is_pooled():
    pooled, maps = NETWORKS["resnet12"](), NETWORKS["resnet12"](pooled=False)
    state = random_state(pooled)
    maps.double().eval().load_state_dict(state)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(maps(x).unflatten(1, (640, 4)).mean(2), pooled(x))
