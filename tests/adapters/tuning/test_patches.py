"""Sums over the pixels under a kernel, and their gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.patches import middle, sum_of_patches
from fewshot_bn.backbones.padding import SameConv2d

LAYERS = [
    nn.Conv2d(2, 3, 3, padding=1),
    nn.Conv2d(2, 3, 3, padding=1, stride=2),
    nn.Conv2d(2, 3, (1, 5), padding=(0, 2), stride=(3, 1)),
    nn.Conv2d(2, 3, 3, padding=4, stride=3, dilation=2),
    nn.Conv2d(2, 3, (3, 5), padding="same"),
    nn.Conv2d(2, 3, 2, padding="valid"),
    SameConv2d(2, 3, 3, stride=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_sum_is_the_convolution_whose_products_are_taken_first(layer):
    layer.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 7, 8, generator=generator, dtype=torch.float64)
    expected = layer(x) - layer.bias[:, None, None]
    products = torch.einsum("ncij,rcuv->uvrnij", x, layer.weight)[None].contiguous().requires_grad_()
    found = sum_of_patches(products, layer, expected.shape[2:])
    assert torch.allclose(found[0].transpose(0, 1), expected, rtol=1e-10)
    small = products[..., :1, :, :]
    assert torch.autograd.gradcheck(lambda p: sum_of_patches(p, layer, expected.shape[2:]), small)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_middle_is_what_a_kernel_of_one_place_sees(layer):
    layer.double()
    x = torch.randn(4, 2, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight, bias = torch.zeros_like(layer.weight), layer.bias[:, None, None]
    k_h, k_w = layer.kernel_size
    weight[:, :, (k_h - 1) // 2, (k_w - 1) // 2] = layer.weight[:, :, 0, 0]
    expected = torch.func.functional_call(layer, {"weight": weight}, (x,)) - bias
    found = F.conv2d(middle(x, layer, expected.shape[2:]), layer.weight[:, :, :1, :1])
    assert torch.allclose(found, expected, rtol=1e-10)
