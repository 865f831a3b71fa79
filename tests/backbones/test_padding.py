"""The padding "SAME", against sums that are written out pixel by pixel."""

import math

import pytest
import torch
from torch import nn
from torchvision import models

from fewshot_bn.backbones.padding import SameConv2d, SameMaxPool2d, pad_same


def windows(n, kernel, stride):
    """Which pixels each output sees, from what TensorFlow documents: ceil(n / stride) outputs, the odd pixel last."""
    n_out = math.ceil(n / stride)
    total = max((n_out - 1) * stride + kernel - n, 0)
    first = total // 2
    return [[place - first + i * stride for place in range(kernel)] for i in range(n_out)]


def written_out(x, weight, stride, groups):
    b, _, h, w = x.shape
    n_out, per_group, k, _ = weight.shape
    rows, columns = windows(h, k, stride), windows(w, k, stride)
    y = x.new_zeros(b, n_out, len(rows), len(columns))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            for p, r in enumerate(row):
                for q, s in enumerate(column):
                    if 0 <= r < h and 0 <= s < w:
                        seen = x[:, :, r, s].reshape(b, groups, per_group)
                        kernel = weight[:, :, p, q].reshape(groups, n_out // groups, per_group)
                        y[:, :, i, j] += torch.einsum("bgc,goc->bgo", seen, kernel).reshape(b, n_out)
    return y


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (5, 12)])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(7, 2, 1), (3, 2, 4), (3, 1, 1), (2, 2, 1), (3, 3, 2)])
def test_a_convolution_is_what_is_written_out(height, width, kernel, stride, groups):
    generator = torch.Generator().manual_seed(0)
    conv = SameConv2d(4, 8, kernel, stride, padding=3, groups=groups, bias=False).double()
    conv.weight.data = torch.randn(conv.weight.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 4, height, width, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(conv(x), written_out(x, conv.weight.data, stride, groups))


@pytest.mark.parametrize("n", [6, 7, 8])
def test_a_maximum_never_sees_the_padding(n):
    x = -1 - torch.rand(1, 2, n, n, generator=torch.Generator().manual_seed(0))
    rows = windows(n, 3, 2)
    expected = torch.stack(
        [
            torch.stack([x[:, :, [r for r in row if 0 <= r < n]][..., [c for c in col if 0 <= c < n]].amax((2, 3))
                         for col in rows], -1)
            for row in rows
        ],
        -2,
    )  # fmt: skip
    torch.testing.assert_close(SameMaxPool2d(3, 2, padding=1)(x), expected)


def test_a_network_keeps_weights_and_names_and_gives_other_features():
    network = models.resnet18(weights=None).eval()
    before, keys = network(torch.ones(1, 3, 64, 64)), list(network.state_dict())
    pad_same(network)
    assert list(network.state_dict()) == keys
    assert type(network.conv1) is SameConv2d
    assert type(network.maxpool) is SameMaxPool2d
    assert type(network.layer2[0].downsample[0]) is nn.Conv2d  # of one pixel, which pads nothing
    after = network(torch.ones(1, 3, 64, 64))
    assert after.shape == before.shape
    assert not torch.allclose(before, after)


def test_strides_of_one_stay_as_they_are():
    x, conv = torch.rand(1, 3, 9, 9), nn.Conv2d(3, 4, 3, padding=1)
    before = conv(x)
    pad_same(conv)
    torch.testing.assert_close(conv(x), before, rtol=0, atol=0)


def test_a_convolution_with_code_of_its_own_is_refused():
    class OwnConv(nn.Conv2d):
        pass

    with pytest.raises(ValueError, match="0 is a OwnConv, which pads as its own code says"):
        pad_same(nn.Sequential(OwnConv(3, 4, 3)))
