"""What every network of one's own has to be: features of a known size, as many weights as published, traceable."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import config
from torch import fx, nn

from benchmarks.references import plain_tuning
from fewshot_bn.adapters import ADAPTERS
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import choose_layers
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.build import count_norms
from fewshot_bn.backbones.graph import trace
from fewshot_bn.backbones.networks import NETWORKS, built
from fewshot_bn.preprocessing import Preprocessing

# network, arguments, side of its images, features, norm layers, weights (as published, less those of the classifier)
WHOLE = [
    ("conv4", {}, 84, 1600, {"batch": 4}, 113_088),
    ("cifar_resnet", {"depth": 20}, 32, 64, {"batch": 19}, 269_722 - 650),
    ("cifar_resnet", {"depth": 32}, 32, 64, {"batch": 31}, 464_154 - 650),
    ("cifar_resnet", {"depth": 44}, 32, 64, {"batch": 43}, 658_586 - 650),
    ("cifar_resnet", {"depth": 56}, 32, 64, {"batch": 55}, 853_018 - 650),
    ("mobilenet_v1", {}, 224, 256, {"batch": 27}, 213_072),
    ("resnet12", {}, 84, 640, {"batch": 16}, 12_424_320),
    ("resnet12", {"pooled": False}, 84, 16_000, {"batch": 16}, 12_424_320),
    ("wide_resnet", {}, 80, 640, {"batch": 25}, 36_472_784),
    ("cdfsl_resnet10", {}, 224, 512, {"batch": 12}, 4_905_792),
    ("bit_resnet", {}, 224, 2048, {"group": 49}, 25_549_352 - 2_049_000),
    ("bit_resnet", {"depth": 101}, 224, 2048, {"group": 100}, 44_541_480 - 2_049_000),
    ("clip_resnet", {}, 224, 1024, {"batch": 55}, 38_316_896),
    ("clip_resnet", {"n_features": 0}, 224, 2048, {"batch": 55}, 23_527_264),
    ("vit", {}, 224, 384, {"layer": 25}, 21_665_664),
]
SMALL = {
    "cdfsl_resnet10": ({"width": 4}, 32),
    "resnet12": ({}, 16),
    "wide_resnet": ({"depth": 10, "widening": 1}, 8),
    "bit_resnet": ({}, 32),
    "clip_resnet": ({"width": 4, "n_features": 8}, 32),
    "vit": ({"depth": 2, "width": 12, "heads": 3, "patch_px": 4, "image_px": 16}, 12),
}

LARGE = ("bit_resnet", "resnet12", "clip_resnet")
each = pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.full] * (n in LARGE)) for n in SMALL])


@pytest.mark.parametrize(("network", "arguments", "side", "features", "norms", "n_weights"), WHOLE)
def test_features_norm_layers_and_weights_are_as_published(network, arguments, side, features, norms, n_weights):
    with torch.device("meta"):
        module = built(NETWORKS[network], arguments).eval()
        z = module(torch.zeros(2, 3, side, side))
    assert z.shape == (2, features)
    assert count_norms(module) == norms
    assert sum(parameter.numel() for parameter in module.parameters()) == n_weights


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        *(("vit", {"width": 10}), ("vit", {"depth": 65}), ("vit", {"heads": 0}), ("vit", {"image_px": 8})),
        *(("vit", {"patch_px": 0}), ("bit_resnet", {"depth": 18}), ("bit_resnet", {"width": 5})),
        *(("clip_resnet", {"depth": 18}), ("clip_resnet", {"width": 3}), ("clip_resnet", {"image_px": 31})),
        *(("clip_resnet", {"n_features": -1}), ("wide_resnet", {"depth": 12}), ("wide_resnet", {"depth": 1000})),
        *(("wide_resnet", {"widening": 0}), ("cdfsl_resnet10", {"width": 0}), ("vit", {"width": 2**17})),
    ],
)
def test_arguments_without_a_network_are_refused(network, arguments):
    with pytest.raises(ValueError, match=r"has depth|multiple of|width|at most"):
        built(NETWORKS[network], arguments)


@pytest.fixture
def untyped():
    """Without checks of types, which no proxy of a traced graph passes."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def backbone_of(name, dtype=torch.float64):
    arguments, side = SMALL[name]
    network = NETWORKS[name](**arguments)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    backbone = freeze_in_place(network, name, "", Preprocessing(side, side), architecture=name)
    backbone.module.to(dtype)
    return backbone, side


@pytest.mark.usefixtures("untyped")
@each
def test_the_graph_is_the_network_at_other_sizes_too(name):
    backbone, side = backbone_of(name)
    assert backbone.graph is not None
    for n in (side, side + 8):
        x = torch.randn(2, 3, n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        assert torch.equal(fx.GraphModule(backbone.module, backbone.graph)(x), backbone.module(x))


@pytest.mark.usefixtures("untyped")
@each
def test_norm_tuning_cuts_it_and_equals_the_plain_loop(name):
    backbone, side = backbone_of(name)
    (kind,) = count_norms(backbone.module)
    generator = torch.Generator().manual_seed(2)
    x_s, x_q = (torch.randn(2, n, 3, side, side, generator=generator, dtype=torch.float64) for n in (4, 3))
    y_s = torch.tensor([[0, 0, 1, 1]] * 2)
    network = EpisodicNetwork(backbone, dict.fromkeys(choose_layers(backbone, kind, "all"), episodic), 2)
    network.try_cut(x_s)
    assert network._parts is not None
    settings = replace(ADAPTERS["bn-plain"], norm=kind, steps=2)
    fit = settings(backbone, x_s, y_s, x_q, seeds=[0, 1])
    expected = plain_tuning(backbone, x_s, y_s, x_q, settings=settings, seeds=[0, 1])
    assert 0 < expected.std() < 1e6
    torch.testing.assert_close(fit.logits, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.full
@pytest.mark.parametrize("name", SMALL)
def test_the_mode_of_its_kind_tunes_it(name):
    backbone, side = backbone_of(name, torch.float32)
    (kind,) = count_norms(backbone.module)
    mode = {"batch": "bn", "group": "gn", "layer": "ln"}[kind]
    x = torch.randn(2, 4, 3, side, side, generator=torch.Generator().manual_seed(3))
    fit = replace(ADAPTERS[mode], steps=2, epochs=0)(backbone, x, torch.tensor([[0, 0, 1, 1]] * 2), x, seeds=[0, 1])
    assert fit.logits.isfinite().all()
    assert (fit.steps == 2).all()


@pytest.mark.usefixtures("untyped")
def test_tracing_finds_every_network():
    arguments = {
        "parallel_resnets": {"members": 2, "channels": 2, "blocks": (1, 1, 1, 1)},
        "regnet_y": {"depth": 6, "w_0": 16, "w_a": 16.0, "w_m": 2.0, "group_width": 8},
    }
    for name, build in NETWORKS.items():
        with torch.device("meta"):
            assert trace(build(**arguments.get(name, {}))) is not None, name
