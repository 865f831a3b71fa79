"""The batched adapter against the loop everyone writes: one episode at a time, a deep copy, torch's own layers."""

import pytest
import torch
from conftest import small_backbone
from references import plain_bn
from torch import nn
from torch.nn import functional as F

from fewshot_bn.adapters.bn import BatchNormTuning
from fewshot_bn.adapters.episodic_norm import episodic_copy, norm_layers
from fewshot_bn.backbones import freeze, load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.images import Preprocessing


def problem(n_episodes=3, *, side=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_s, x_q = (torch.randn(n_episodes, n, 3, side, side, generator=generator, dtype=dtype) for n in (6, 5))
    y_s = torch.tensor([0, 0, 1, 1, 2, 2]).expand(n_episodes, -1).contiguous()
    return x_s, y_s, x_q


@pytest.mark.parametrize(
    "settings",
    [{}, {"lr_norm": 0.0}, {"lr_head": 0.1, "lr_norm": 0.003}, {"momentum": 0.0, "weight_decay": 0.01}],
    ids=str,
)
def test_equals_the_plain_loop_in_float64(settings):
    backbone = small_backbone(dtype=torch.float64)
    arguments = problem()
    adapter = BatchNormTuning(steps=12, **settings)
    expected = plain_bn(backbone, *arguments, settings=adapter)
    fit = adapter(backbone, *arguments)
    assert torch.allclose(fit.logits, expected, rtol=1e-9, atol=1e-11)
    assert (fit.steps.tolist(), fit.converged.tolist()) == ([12] * 3, [True] * 3)


def test_equals_the_plain_loop_in_float32():
    backbone, arguments = small_backbone(), problem(dtype=torch.float32)
    expected = plain_bn(backbone, *arguments, settings=BatchNormTuning(steps=12))
    logits = BatchNormTuning(steps=12)(backbone, *arguments).logits
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0", "regnet_y_400mf"])
def test_equals_the_plain_loop_on_torchvision_networks(model):
    backbone = load_backbone(model, weights="random")
    backbone.module.double()
    x_s, y_s, x_q = problem(2, side=32)
    expected = plain_bn(backbone, x_s, y_s, x_q, settings=BatchNormTuning(steps=2))
    logits = BatchNormTuning(steps=2)(backbone, x_s, y_s, x_q).logits
    assert torch.allclose(logits, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))


def state_of(backbone):
    module = backbone.module
    return (
        {k: v.clone() for k, v in module.state_dict().items()},
        [m.training for m in module.modules()],
        [p.requires_grad for p in module.parameters()],
        [id(m) for m in module.modules()],
        [p.grad for p in module.parameters()],
    )


def assert_same_state(before, after):
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1:] == after[1:]


def test_the_backbone_is_left_bit_identical(backbone):
    before = state_of(backbone)
    BatchNormTuning(steps=3)(backbone, *problem(dtype=torch.float32))
    assert_same_state(before, state_of(backbone))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_the_backbone_is_left_bit_identical_when_interrupted(backbone, interruption, monkeypatch):
    before = state_of(backbone)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise interruption
        return cross_entropy(*args, **kwargs)

    cross_entropy = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", interrupted)
    with pytest.raises(interruption):
        BatchNormTuning()(backbone, *problem(dtype=torch.float32))
    assert_same_state(before, state_of(backbone))


def test_an_episode_that_diverges_is_reported_and_does_not_touch_the_others(backbone):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    expected = BatchNormTuning(steps=5)(backbone, x_s, y_s, x_q)
    x_s[1] = 1e30
    fit = BatchNormTuning(steps=5)(backbone, x_s, y_s, x_q)
    assert fit.converged.tolist() == [True, False, True]
    assert torch.allclose(fit.logits[::2], expected.logits[::2], atol=1e-6)


def test_the_episodic_copy_starts_as_the_network_itself_and_shares_its_tensors(backbone):
    view, norms = episodic_copy(backbone.module, 2)
    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(view(x), backbone.module(x), atol=1e-6)
    assert len(norms) == len(norm_layers(backbone.module)) == 3
    assert view.conv1.weight is backbone.module.conv1.weight


def test_gradients_of_scale_shift_and_input_are_right():
    backbone = small_backbone(dtype=torch.float64)
    view, norms = episodic_copy(backbone.module, 2)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    parameters = [p for norm in norms for p in norm.parameters()]

    def output(x, *values):
        named = {id(p): v for p, v in zip(parameters, values, strict=True)}
        replaced = {name: named[id(p)] for name, p in view.named_parameters() if id(p) in named}
        return torch.func.functional_call(view, replaced, (x,))

    assert torch.autograd.gradcheck(output, (x, *parameters))


def test_a_layer_used_twice_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.again = self.norm

        def forward(self, x):
            return self.again(self.norm(self.conv(x))).mean((2, 3))

    backbone = freeze(Twice(), "twice", "", Preprocessing(8, 8), architecture="Twice")
    backbone.module.double()
    arguments = problem()
    adapter = BatchNormTuning(steps=10, lr_norm=0.5, lr_head=0.5)
    expected = plain_bn(backbone, *arguments, settings=adapter)
    assert torch.allclose(adapter(backbone, *arguments).logits, expected, rtol=1e-9)


def test_a_backbone_without_batch_norm_is_an_error():
    backbone = load_backbone("vit_b_32", weights="random")
    with pytest.raises(ModelError, match="vit_b_32: no BatchNorm layer .* its norm layers are LayerNorm"):
        BatchNormTuning().check(backbone)


def test_batch_norm_without_running_statistics_is_an_error():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    backbone = freeze(network, "odd", "", Preprocessing(8, 8), architecture="odd")
    with pytest.raises(ModelError, match="odd: the BatchNorm layer 1 keeps no running statistics"):
        BatchNormTuning().check(backbone)
