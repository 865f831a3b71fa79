"""The engine: the network for many episodes, cut before its first tuned layer."""

import pytest
import torch
from reference.networks import small_backbone
from torch import nn
from torch.nn import functional as F

from fewshot_bn.adapters.tuning.affines import Affines
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import affine_layers
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.preprocessing import Preprocessing


def images(n_episodes=2, n=3, side=8, dtype=torch.float32):
    return torch.randn(n_episodes, n, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)


def engine(backbone, scope=None, **options):
    names = scope or list(affine_layers(backbone.module, "batch"))
    return EpisodicNetwork(backbone, dict.fromkeys(names, episodic), 2, **options)


def kept_bytes(network, x):
    affines = Affines(network, "both", "absolute")
    with torch.enable_grad():
        affines.apply()
        return network.kept_bytes(x, affines.values)


def test_it_starts_as_the_network_itself_and_shares_its_tensors(backbone):
    network, x = engine(backbone), images()
    z = network.features(network.stem(x))
    assert torch.allclose(z.flatten(0, 1), backbone.module(x.flatten(0, 1)), atol=1e-6)
    assert len(network.layers) == 3
    assert network._network.conv1.weight is backbone.module.conv1.weight


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_gradients_are_right(statistics):
    backbone = small_backbone(dtype=torch.float64)
    network, x = engine(backbone), images(dtype=torch.float64)
    network.try_cut(x)

    def output(*affines):
        for layer, gamma, beta in zip(network.norms, affines[::2], affines[1::2], strict=True):
            layer.gamma, layer.beta = gamma, beta
        return network.features(network.stem(x), statistics)

    affines = [value.clone().requires_grad_() for layer in network.norms for value in (layer.gamma, layer.beta)]
    assert torch.autograd.gradcheck(output, affines)


def test_conversion_leaves_eval_mode_unchanged_and_takes_the_statistics_of_the_input():
    backbone = small_backbone(dtype=torch.float64)
    network, x = engine(backbone), images(n=50, dtype=torch.float64)
    before = network.features(network.stem(x))
    network.convert([network.stem(x)])
    assert torch.allclose(network.features(network.stem(x)), before, rtol=1e-10)
    z = backbone.module.conv1(x[1])
    assert torch.allclose(network.norms[0].running_mean[1], z.mean((0, 2, 3)))
    assert torch.allclose(network.norms[0].running_var[1], z.var((0, 2, 3), unbiased=False))
    assert torch.allclose(network.features(network.stem(x), "batch"), before, rtol=1e-3)  # ε in other places


def count_calls(network, name):
    calls = []
    network.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
    return calls


MODELS = ["resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x0_5"]


@pytest.mark.parametrize("model", [*MODELS, "mnasnet0_5", "googlenet"])
def test_what_lies_before_the_first_tuned_layer_runs_once(model):
    backbone = load_backbone(model, weights="random")
    names = list(affine_layers(backbone.module, "batch"))
    network, x = engine(backbone, names[len(names) // 2 :]), images(side=64)
    expected = backbone.module(x.flatten(0, 1)).reshape(2, 3, -1)
    first = next(name for name, module in backbone.module.named_modules() if isinstance(module, nn.Conv2d))
    calls = count_calls(network._network, first)
    network.try_cut(x[:, :1])
    stem = network.stem(x)
    assert len(calls) == 2  # the trial and this
    for _ in range(3):
        assert torch.allclose(network.features(stem), expected, atol=1e-5 * float(expected.abs().max()))
    assert len(calls) == 2


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        z = self.conv(x)
        if z.sum() > 0:  # a decision on data
            z = z + 1
        return self.norm(z).mean((2, 3))


class Overwrites(Untraceable):
    def forward(self, x):
        z = self.conv(x)
        y = self.norm(z)
        return (F.relu(z, inplace=True) + y).mean((2, 3))


class NotARowPerImage(Untraceable):
    def forward(self, x):
        z = self.conv(x)
        return self.norm(z).mean((2, 3)) + z.mean()


@pytest.mark.parametrize("kind", [Untraceable, Overwrites, NotARowPerImage])
def test_a_network_that_cannot_be_cut_stays_whole(kind):
    backbone = freeze_in_place(kind(), "odd", "", Preprocessing(8, 8), architecture="odd")
    assert (backbone.graph is None) == (kind is Untraceable)
    network, x = EpisodicNetwork(backbone, {"norm": episodic}, 2), images()
    expected = backbone.module(x.flatten(0, 1))
    assert kept_bytes(network, x) > 0
    network.try_cut(x[:, :1])
    for _ in range(2):
        assert torch.allclose(network.features(network.stem(x)).flatten(0, 1), expected, atol=1e-6)


def test_kept_bytes_count_what_the_backward_pass_needs():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    backbone = freeze_in_place(module, "one", "", Preprocessing(8, 8), architecture="one")
    network = EpisodicNetwork(backbone, {"1": episodic}, 1)
    x = images(1, 5)
    map_bytes = 4 * 6 * 6 * 4
    assert map_bytes <= kept_bytes(network, x) < 1.2 * map_bytes


def test_low_precision_keeps_norm_layers_and_features_in_float32(backbone):
    network, x = engine(backbone, low_precision=True), images()
    z = network.features(network.stem(x))
    assert z.dtype == network.norms[0].gamma.dtype == torch.float32
    assert network._network.conv1.weight.dtype == torch.bfloat16
    assert backbone.module.conv1.weight.dtype == torch.float32
    assert torch.allclose(z.flatten(0, 1), backbone.module(x.flatten(0, 1)), rtol=0.05, atol=0.05)
