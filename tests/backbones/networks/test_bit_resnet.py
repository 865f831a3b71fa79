"""BiT's ResNet, against kernels and pooling that are written out, and against timm's reading of the same file."""

import numpy as np
import pytest
import torch
from reference.layouts import write
from reference.layouts.others import bit
from torch.nn import functional as F

from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks.bit_resnet import BitResNet, StandardisedConv2d


@pytest.mark.parametrize("stride", [1, 2])
def test_kernels_are_standardised_one_by_one(stride):
    generator = torch.Generator().manual_seed(0)
    conv = StandardisedConv2d(3, 4, 3, stride, padding=1, bias=False).double()
    conv.weight.data = torch.randn(conv.weight.shape, generator=generator, dtype=torch.float64) + 3
    kernels = conv.weight.detach().numpy().copy()
    for kernel in kernels:
        mean = sum(kernel.ravel()) / kernel.size
        variance = sum((value - mean) ** 2 for value in kernel.ravel()) / kernel.size
        kernel[:] = (kernel - mean) / (variance + 1e-10) ** 0.5
    x = torch.randn(2, 3, 7, 7, generator=generator, dtype=torch.float64)
    expected = F.conv2d(x, torch.from_numpy(kernels), None, stride, 1)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)
    assert not np.allclose(kernels, conv.weight.detach())


def test_the_border_of_the_stem_counts_as_zeros_in_its_maximum():
    network = BitResNet()
    x = -torch.rand(1, 64, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.1
    found = network.root.pool(network.root.pad(x))[0]
    for i in range(3):
        for j in range(3):
            rows, columns = (range(2 * place - 1, 2 * place + 2) for place in (i, j))
            seen = [x[0, :, r, c] if 0 <= r < 6 and 0 <= c < 6 else torch.zeros(64) for r in rows for c in columns]
            assert torch.equal(found[:, i, j], torch.stack(seen).amax(0))
    assert (found[:, 0] == 0).all()


@pytest.mark.full
@pytest.mark.parametrize("depth", [50, 101])
def test_equals_timm_which_reads_the_same_file(depth, tmp_path):
    timm = pytest.importorskip("timm")
    network = BitResNet(depth)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.copy_(torch.rand(parameter.shape, generator=generator) - (0.0 if parameter.ndim == 1 else 0.5))
    path = tmp_path / "weights.npz"
    write(bit(network.state_dict()), path)
    other = timm.create_model(f"resnetv2_{depth}x1_bit", pretrained=False, num_classes=0).eval()
    other.load_pretrained(str(path))
    backbone = load_backbone(f"bit-m-r{depth}x1", weights=str(path))
    found = backbone.module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())
    x = torch.randn(2, 3, 97, 97, generator=generator)
    with torch.no_grad():
        expected = other(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(backbone.features(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
