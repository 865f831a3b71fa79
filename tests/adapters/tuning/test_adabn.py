"""Statistics of the episode instead of the pretrained ones: against a plain loop, and against torch's training mode."""

import copy
from dataclasses import replace

import pytest
import torch
from reference.networks import small_backbone
from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from benchmarks.references import plain_tuning
from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import input_sizes
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.preprocessing import Preprocessing

SEEDS = [11, 5]
POLICIES = ["support", "support+query"]
MODE = {"support": "adabn", "support+query": "adabn-query"}


def problem(n_episodes=2, *, side=8, n_shot=2, n_query=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (3 * n_shot, n_query)
    x_s, x_q = (torch.randn(n_episodes, n, 3, side, side, generator=generator, dtype=dtype) for n in sizes)
    y_s = torch.arange(3).repeat_interleave(n_shot).expand(n_episodes, -1).contiguous()
    return x_s, y_s, x_q


def distance(backbone, settings, arguments):
    """The largest difference to the plain loop, relative to the largest score."""
    backbone.module.to(arguments[0].dtype)
    expected = plain_tuning(backbone, *arguments, settings=settings, seeds=SEEDS)
    fit = settings(backbone, *arguments, seeds=SEEDS)
    assert fit.converged.all()
    return float((fit.logits - expected).abs().max() / expected.abs().max())


def random_statistics(network, seed=0):
    """So that taking others makes a difference."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network


SIDES = {"resnet": 32, "bottlenecks": 32, "small resnet": 4, "mobilenet": 8}  # the last maps are of one pixel
KINDS = [
    "small resnet",
    "mobilenet",
    *(pytest.param(kind, marks=pytest.mark.full) for kind in ("resnet", "bottlenecks")),
]


def network_of(kind):
    if kind == "mobilenet":
        network = MobileNetV2(inverted_residual_setting=[[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 2, 2]], width_mult=0.5)
        network.classifier = nn.Identity()
    elif kind == "small resnet":
        network = CifarResNet(depth=8, width=4)
    else:
        network = ResNet({"resnet": BasicBlock, "bottlenecks": Bottleneck}[kind], [1, 1, 1, 1])
        network.fc = nn.Identity()
    sides = SIDES[kind], SIDES[kind]
    return freeze_in_place(random_statistics(network), kind, "", Preprocessing(*sides), architecture=kind)


@pytest.mark.parametrize("statistics", POLICIES)
@pytest.mark.parametrize("head", ["zero", "proto", "lr"])
@pytest.mark.parametrize("tuner", [NormTuning(steps=8), FineTuning(steps=8)], ids=["norms", "weights"])
def test_equals_the_plain_loop_with_every_head(tuner, head, statistics, fresh_seed):
    settings = replace(tuner, head=head, statistics=statistics)
    assert distance(small_backbone(fresh_seed), settings, problem(seed=fresh_seed)) < 1e-6


@pytest.mark.parametrize("statistics", POLICIES)
@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0, "readout": "ridge"},
        {"steps": 0, "readout": "ridge", "test_augment": "flip,centre"},
        {"steps": 0, "readout": "ridge", "average_frozen": True},
        {"steps": 0, "readout": "ridge", "scope": "bn2"},
        {"steps": 0, "readout": "ridge", "scope": "*1,bn3"},
        pytest.param({"steps": 0, "readout": "lr", "test_augment": "flip"}, marks=pytest.mark.full),
        {"batch_size": 4, "test_augment": "flip"},
        {"units": "relative", "affines": "scale", "optimiser": "adam", "lr_norm": 1.0},
    ],
    ids=str,
)
def test_equals_the_plain_loop_for_other_settings(settings, statistics):
    assert distance(small_backbone(), replace(NormTuning(steps=8, statistics=statistics), **settings), problem()) < 1e-6


@pytest.mark.parametrize("mode", MODE.values())
@pytest.mark.parametrize("kind", KINDS)
def test_the_modes_equal_the_plain_loop_on_networks_with_maps_of_one_pixel(kind, mode):
    backbone = network_of(kind)
    assert list(input_sizes(backbone, "batch").values())[-1][1:] == (1, 1)
    assert distance(backbone, ADAPTERS[mode], problem(side=SIDES[kind])) < 1e-6


def test_layers_see_what_they_would_in_training_mode():
    """In one pass of training mode each layer normalises with the statistics of its batch, as AdaBN does."""
    backbone, x_s = network_of("small resnet"), problem(1, side=4)[0]
    backbone.module.double()
    tuner = NormTuning(statistics="support", steps=0, readout="lr", norm="batch")
    names = tuner.choose(backbone)
    network = tuner.network(backbone, names, 1)
    network.take_statistics(network.stem(x_s))
    trained = copy.deepcopy(backbone.module).train()
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        expected = trained(x_s[0])
        found = network.features(network.stem(x_s))[0]
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    for name in names:
        theirs, ours = trained.get_submodule(name), network.layers[name]
        assert torch.allclose(ours.running_mean[0], theirs.running_mean, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(expected, backbone.module(x_s[0]), rtol=0.1)


@pytest.mark.parametrize("statistics", POLICIES)
@pytest.mark.parametrize("alike", [True, False], ids=["one contract", "two contracts"])
def test_members_of_a_concatenation_take_theirs(alike, statistics):
    first, second = small_backbone(1), small_backbone(2)
    if not alike:
        second = replace(second, preprocessing=replace(second.preprocessing, mean=(0.1, 0.2, 0.3)))
    both, arguments = concatenate([first, second]), problem()
    settings = NormTuning(statistics=statistics, steps=0, readout="ridge")
    assert distance(both, settings, arguments) < 1e-6
    alone = replace(settings, members="two-stage")(both, *arguments).logits
    assert torch.allclose(alone, settings(both, *arguments).logits, rtol=1e-9, atol=1e-9)  # nothing joins them


def state_of(backbone):
    return [tensor.clone() for tensor in backbone.module.state_dict().values()]


@pytest.mark.parametrize("mode", MODE.values())
def test_the_backbone_is_left_bit_identical_and_may_be_interrupted(mode, monkeypatch):
    backbone, arguments = small_backbone(), problem(dtype=torch.float32)
    before = state_of(backbone)
    ADAPTERS[mode](backbone, *arguments)
    assert all(map(torch.equal, before, state_of(backbone)))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.functional, "relu", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ADAPTERS[mode](backbone, *arguments)
    assert all(map(torch.equal, before, state_of(backbone)))
    assert not any(module.training or module._forward_pre_hooks for module in backbone.module.modules())


@pytest.mark.parametrize(("statistics", "together"), [("support", 6), ("support+query", 11)])
def test_all_images_of_the_statistics_go_through_together_whatever_else_may(statistics, together, monkeypatch):
    backbone, arguments = small_backbone(dtype=torch.float64), problem()
    settings = NormTuning(statistics=statistics, steps=0, readout="ridge")
    assert settings.images_together(6, 5) == together
    expected, sizes, features = settings(backbone, *arguments).logits, [], EpisodicNetwork.features

    def noting(network, stem, *others):
        sizes.append(stem[0].shape[1])
        return features(network, stem, *others)

    monkeypatch.setattr(EpisodicNetwork, "features", noting)
    found = settings(backbone, *arguments, images_at_once=2).logits
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert sizes[1] == together  # after the trial of one image
    assert set(sizes[2:]) <= {1, 2}


def test_only_statistics_of_queries_are_transductive():
    backbone, (x_s, y_s, x_q) = small_backbone(), problem(dtype=torch.float32)
    for mode, changes in (("adabn", False), ("adabn-query", True)):
        whole, fewer = (ADAPTERS[mode](backbone, x_s, y_s, x).logits[:, :2] for x in (x_q, x_q[:, :2].contiguous()))
        assert ADAPTERS[mode].transductive == changes
        assert torch.allclose(whole, fewer, atol=1e-5) != changes


@pytest.mark.parametrize("mode", MODE.values())
@pytest.mark.parametrize("kind", KINDS)
def test_one_shot_on_maps_of_one_pixel_gives_numbers(kind, mode):
    """Three values a channel, or the same three times: what does not vary is divided by the root of eps alone."""
    backbone = network_of(kind)
    x_s, y_s, x_q = problem(side=SIDES[kind], n_shot=1, n_query=1, dtype=torch.float32)
    x_s[1] = x_s[1, :1]
    fit = ADAPTERS[mode](backbone, x_s, y_s, x_q)
    assert fit.converged.all()
    assert fit.logits.isfinite().all()


def test_a_single_support_image_is_no_episode():
    x_s, y_s, x_q = problem(dtype=torch.float32)
    with pytest.raises(DataError, match="way at least 2"):
        ADAPTERS["adabn"](small_backbone(), x_s[:, :1], y_s[:, :1], x_q)


@pytest.mark.parametrize("statistics", POLICIES)
def test_an_episode_that_is_not_finite_does_not_touch_the_others(statistics):
    backbone, (x_s, y_s, x_q) = small_backbone(), problem(dtype=torch.float32)
    settings = NormTuning(statistics=statistics, steps=0, readout="ridge")
    expected = settings(backbone, x_s, y_s, x_q).logits
    x_s[0, 0] = torch.nan
    fit = settings(backbone, x_s, y_s, x_q)
    assert fit.converged.tolist() == [False, True]
    assert torch.allclose(fit.logits[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("statistics", POLICIES)
@pytest.mark.parametrize("norm", ["group", "layer", "rms"])
def test_only_batch_norm_has_statistics(norm, statistics):
    with pytest.raises(UsageError, match=rf"statistics={statistics.replace('+', '.')} is a policy of BatchNorm; norm="):
        make_adapter("adabn", norm=norm, statistics=statistics, affines="scale")


def test_without_steps_a_probe_has_to_classify():
    with pytest.raises(UsageError, match="adabn: steps and epochs are 0, so head=zero would never learn anything"):
        make_adapter("adabn", readout="head")
