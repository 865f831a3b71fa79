"""BatchNorm of many episodes against torch's own, episode by episode."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewshot_bn.adapters.tuning import episodic_norm
from fewshot_bn.adapters.tuning.episodic_norm import EpisodicBatchNorm

N_EPISODES, CHANNELS = 3, 5
LAYERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.fixture(params=[set(), {"cpu"}], ids=["one by one", "at once"], autouse=True)
def kernels(request, monkeypatch):
    monkeypatch.setattr(episodic_norm, "AT_ONCE", request.param)


def problem(size, seed, dtype=torch.float64):
    """A layer with random statistics, its input far from zero, scales and shifts of all episodes, and a gradient."""
    generator = torch.Generator().manual_seed(seed)
    bn = LAYERS[1 + len(size)](CHANNELS).to(dtype)
    bn.running_mean.normal_(generator=generator)
    bn.running_var.uniform_(0.5, 2, generator=generator)
    means = bn.running_mean.reshape(CHANNELS, *(1 for _ in size[1:]))
    x, g = (3 * torch.randn(12, *size, dtype=dtype, generator=generator) for _ in range(2))
    return bn, x + 10 * means, *torch.randn(2, N_EPISODES, CHANNELS, dtype=dtype, generator=generator), g


def run(layer, x, gamma, beta, g):
    """What comes out, and the gradients."""
    leaves = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in (x, gamma, beta)]
    y = layer(*leaves)
    y.backward(g)
    return y.detach(), *(leaf.grad for leaf in leaves)


def episodic(bn, statistics):
    layer = EpisodicBatchNorm(bn, N_EPISODES)
    layer.n_images, layer.statistics = 12, statistics

    def call(x, gamma, beta):
        layer.gamma, layer.beta = gamma, beta
        return layer(x)

    return layer, call


@pytest.mark.parametrize("statistics", ["running", "batch", "batch, tracked"])
@pytest.mark.parametrize("size", [(5,), (5, 7), (5, 4, 6), (5, 1, 1), (5, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_it_is_batch_norm_of_each_episode(statistics, size, last, fresh_seed):
    bn, x, gamma, beta, g = problem(size, fresh_seed)
    if last and len(size) > 2:
        x = x.contiguous(memory_format=CHANNELS_LAST[1 + len(size)])
    running = [(bn.running_mean.clone(), bn.running_var.clone()) for _ in range(N_EPISODES)]
    momentum, training = (bn.momentum if statistics == "batch, tracked" else 0.0), statistics != "running"

    def plain(x, gamma, beta):
        parts = zip(x.chunk(N_EPISODES), running, gamma, beta, strict=True)
        return torch.cat([F.batch_norm(x, *r, c, b, training, momentum, bn.eps) for x, r, c, b in parts])

    layer, call = episodic(bn, statistics)
    for _ in range(2):  # the second time from running statistics that have moved
        expected, found = run(plain, x, gamma, beta, g), run(call, x, gamma, beta, g)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        assert found[0].stride() == found[1].stride() == x.stride()
    assert torch.allclose(layer.running_mean, torch.stack([mean for mean, _ in running]))
    assert torch.allclose(layer.running_var, torch.stack([var for _, var in running]))


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_bfloat16_comes_in_and_goes_out_and_is_summed_in_float32(statistics, fresh_seed):
    bn, x, gamma, beta, g = problem((5, 4, 6), fresh_seed, torch.float32)
    x, g = ((tensor / 10).to(torch.bfloat16) for tensor in (x, g))
    expected = run(episodic(bn, statistics)[1], x.float(), gamma, beta, g.float())
    y, *gradients = run(episodic(bn, statistics)[1], x, gamma, beta, g)
    assert (y.dtype, gradients[0].dtype, gradients[1].dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    for found, exact in zip((y, gradients[0]), (expected[0], expected[1]), strict=True):
        torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))
    for found, exact in zip(gradients[1:], expected[2:], strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))
