"""The batched adapter against the loop everyone writes: one episode at a time, a deep copy, torch's own layers."""

import itertools
from dataclasses import replace

import pytest
import torch
from reference.networks import small_backbone
from reference.tuning import SEEDS, assert_same_state, problem, state_of
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from benchmarks.references import plain_tuning
from fewshot_bn.adapters import ADAPTERS
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.readout import READOUTS
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.preprocessing import Preprocessing


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def distance(backbone, settings, *, dtype=torch.float64, seed=0):
    """The largest difference to the plain loop, relative to the largest score."""
    backbone.module.to(dtype)
    arguments = problem(dtype=dtype, seed=seed)
    expected = plain_tuning(backbone, *arguments, settings=settings, seeds=SEEDS)
    fit = settings(backbone, *arguments, seeds=SEEDS)
    assert fit.converged.all()
    return relative(fit.logits, expected)


POLICIES = ["frozen", "batch", "converted", "transductive"]


@pytest.mark.parametrize(
    ("statistics", "head", "optimiser"),
    list(itertools.product(POLICIES, ["zero", "normal", "proto", "lr"], ["sgd", "adam"])),
)
def test_equals_the_plain_loop_for_every_policy_head_and_optimiser(statistics, head, optimiser, fresh_seed):
    settings = NormTuning(statistics=statistics, head=head, optimiser=optimiser, steps=12)
    assert distance(small_backbone(fresh_seed), settings, seed=fresh_seed) < 1e-6


@pytest.mark.parametrize("statistics", POLICIES)
def test_equals_the_plain_loop_in_float32(statistics):
    assert distance(small_backbone(), NormTuning(statistics=statistics, steps=12), dtype=torch.float32) < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_norm": 0.0},
        {"lr_head": 0.1, "lr_norm": 0.003},
        {"momentum": 0.0, "weight_decay": 0.01},
        {"dampening": 0.9, "schedule": "constant"},
        {"affines": "scale"},
        {"affines": "shift", "optimiser": "adam"},
        {"label_smoothing": 0.1},
        {"scope": "bn1"},
        {"scope": "*2,bn3", "statistics": "batch"},
        {"scope": "last", "statistics": "converted"},
        {"batch_size": 4},
        {"batch_size": 4, "statistics": "batch"},
        {"steps": 0, "epochs": 5, "batch_size": 2, "statistics": "converted"},
        {"batch_size": 100},
        {"stop_loss": 1.05, "lr_head": 0.1},
        {"stop_loss": 1.05, "lr_head": 0.1, "batch_size": 4, "statistics": "batch"},
        {"scaling": "l2", "head": "lr", "C": 10.0},
        {"scaling": "l2", "head": "proto", "statistics": "batch"},
        {"units": "relative", "optimiser": "adam", "lr_norm": 1.0},
        {"units": "relative", "affines": "scale", "weight_decay": 0.1, "lr_norm": 10.0},
        {"units": "relative", "affines": "shift", "statistics": "converted", "lr_norm": 10.0},
        {"units": "relative", "stop_loss": 1.05, "lr_head": 0.1},
        {"readout": "lr"},
        {"readout": "ridge", "statistics": "batch"},
        {"readout": "ridge", "statistics": "transductive", "test_augment": "flip"},
        {"test_augment": "flip"},
        pytest.param({"test_augment": "centre,flip", "readout": "lr"}, marks=pytest.mark.full),
        pytest.param({"steps": 0, "readout": "lr", "test_augment": "flip,centre"}, marks=pytest.mark.full),
        {"steps": 0, "head": "proto"},
        {"readout": "lr+ridge", "test_augment": "centre"},
        pytest.param({"readout": "lr", "test_augment": "flip", "average_frozen": True}, marks=pytest.mark.full),
        {"readout": "ridge", "statistics": "converted", "average_frozen": True},
    ],
    ids=str,
)
def test_equals_the_plain_loop_for_every_other_setting(settings):
    assert distance(small_backbone(), replace(NormTuning(steps=12), **settings)) < 1e-6


@pytest.mark.parametrize(
    ("statistics", "batch_size"), [("frozen", 0), ("frozen", 5), ("batch", 0), ("transductive", 0)]
)
def test_how_many_images_are_in_memory_at_once_does_not_matter(backbone, statistics, batch_size):
    backbone.module.double()
    settings = NormTuning(steps=8, statistics=statistics, batch_size=batch_size, stop_loss=0.9)
    expected = settings(backbone, *problem(), seeds=SEEDS)
    for n in (1, 2, 4, 100):
        fit = settings(backbone, *problem(), seeds=SEEDS, images_at_once=n)
        assert torch.allclose(fit.logits, expected.logits, rtol=1e-9, atol=1e-11)
        assert torch.equal(fit.steps, expected.steps)


@pytest.mark.parametrize("readout", ["lr", "ridge"])
def test_without_steps_and_views_it_is_the_probe_on_frozen_features(backbone, readout):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    z_s, z_q = (backbone.module(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (x_s, x_q))
    expected = ADAPTERS[readout](z_s, y_s, z_q)
    fit = NormTuning(steps=0, readout=readout)(backbone, x_s, y_s, x_q)
    assert torch.allclose(fit.logits, (8 if readout == "ridge" else 1) * expected.logits, atol=1e-4)
    assert fit.steps.tolist() == [0, 0, 0]
    assert fit.converged.all()


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({}, 100),
        ({"batch_size": 13}, 13),
        ({"batch_size": 300}, 100),
        ({"batch_size": 4, "statistics": "batch"}, 4),
        ({"batch_size": 4, "statistics": "converted"}, 100),
        ({"batch_size": 4, "statistics": "transductive"}, 150),
    ],
)
def test_the_most_images_of_an_episode_that_go_through_the_network_together(settings, images, monkeypatch):
    adapter, most = NormTuning(steps=2, **settings), []
    assert adapter.images_together(100, 150) == images
    monkeypatch.setattr(EpisodicNetwork, "features", counted(most))
    generator = torch.Generator().manual_seed(0)
    x_s, x_q = (torch.randn(2, n, 3, 8, 8, generator=generator) for n in (100, 150))
    adapter(small_backbone(), x_s, torch.arange(2).repeat(2, 50), x_q, seeds=[0, 1], images_at_once=images)
    assert max(most) == images


def counted(most):
    features = EpisodicNetwork.features

    def noting(network, stem, *arguments):
        most.append(stem[0].shape[1])
        return features(network, stem, *arguments)

    return noting


def test_with_one_shot_ridge_has_no_say(backbone):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    one_shot, more = (x_s[:, ::2], y_s[:, ::2], x_q), (x_s, y_s, x_q)
    both, alone = (replace(ADAPTERS["bn"], epochs=1, readout=readout) for readout in ("lr+ridge", "lr"))
    assert torch.equal(both(backbone, *one_shot).logits, alone(backbone, *one_shot).logits)
    assert not torch.equal(both(backbone, *more).logits, alone(backbone, *more).logits)


def test_a_readout_that_is_not_solved_is_reported(backbone, monkeypatch):
    monkeypatch.setitem(READOUTS, "lr", ((LogisticRegression(max_steps=1, tolerance=1e-12), 1.0),))
    assert not replace(ADAPTERS["bn"], epochs=1, readout="lr")(backbone, *problem(dtype=torch.float32)).converged.any()


def test_an_episode_whose_features_are_not_finite_is_reported_and_does_not_touch_the_others(backbone):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    expected = ADAPTERS["bn"](backbone, x_s, y_s, x_q)
    x_q[1, 0, 0, 0, 0] = torch.nan
    fit = ADAPTERS["bn"](backbone, x_s, y_s, x_q)
    assert fit.converged.tolist() == [True, False, True]
    assert fit.logits[1].isnan().all()
    assert torch.allclose(fit.logits[[0, 2]], expected.logits[[0, 2]], rtol=0, atol=1e-12)


def test_the_scores_over_views_are_log_probabilities(backbone):
    logits = ADAPTERS["bn"](backbone, *problem(dtype=torch.float32)).logits
    assert torch.allclose(logits.exp().sum(-1), torch.ones(3, 5, dtype=logits.dtype))


@pytest.mark.parametrize("mode", [pytest.param("bn", marks=pytest.mark.full), "bn-plain", "bn-all", "bn-cdfsl"])
def test_equals_the_plain_loop_for_the_presets(mode):
    settings = ADAPTERS[mode]
    shorter = replace(settings, epochs=min(settings.epochs, 4), steps=min(settings.steps, 12))
    assert distance(small_backbone(), shorter) < 1e-6


def test_the_33_layer_preset_equals_the_plain_loop_on_a_bottleneck_resnet():
    from torchvision.models.resnet import Bottleneck, ResNet

    network = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=16)
    network.fc = nn.Identity()
    backbone = freeze_in_place(network, "tiny", "", Preprocessing(64, 64), architecture="tiny")
    backbone.module.double()
    x_s, y_s, x_q = problem(2, side=64)
    settings = replace(ADAPTERS["bn23"], epochs=2, batch_size=3)
    expected = plain_tuning(backbone, x_s, y_s, x_q, settings=settings)
    assert relative(settings(backbone, x_s, y_s, x_q).logits, expected) < 1e-6


@pytest.mark.parametrize(
    "model",
    [
        "regnet_y_400mf",
        *(
            pytest.param(name, marks=pytest.mark.full)
            for name in ("resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0")
        ),
    ],
)
@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_equals_the_plain_loop_on_torchvision_networks(model, statistics):
    backbone = load_backbone(model, weights="random")
    backbone.module.double()
    x_s, y_s, x_q = problem(2, side=32)
    settings = NormTuning(steps=2, statistics=statistics)
    expected = plain_tuning(backbone, x_s, y_s, x_q, settings=settings)
    assert relative(settings(backbone, x_s, y_s, x_q).logits, expected) < 1e-6


@pytest.mark.parametrize(
    "model", ["vit", *(pytest.param(m, marks=pytest.mark.full) for m in ("convnext_tiny", "swin_t"))]
)
def test_equals_the_plain_loop_on_layer_norms(model):
    if model == "vit":
        network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
        network.heads = nn.Identity()
        backbone = freeze_in_place(network, "vit", "", Preprocessing(32, 32), architecture="vit")
    else:
        backbone = load_backbone(model, weights="random")
    x_s, y_s, x_q = problem(2, side=32, dtype=torch.float32)
    settings = NormTuning(norm="layer", steps=2)
    expected = plain_tuning(backbone, x_s, y_s, x_q, settings=settings)
    assert relative(settings(backbone, x_s, y_s, x_q).logits, expected) < 1e-4


class GroupNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8)
        self.last = nn.LayerNorm([8, 6, 6])
        self.rms = nn.RMSNorm(8 * 6 * 6, eps=1e-6)

    def forward(self, x):
        return self.rms(self.last(F.relu(self.norm(self.conv(x)))).flatten(1))


@pytest.mark.parametrize("settings", [{"lr_norm": 0.1}, {"units": "relative", "lr_norm": 1.0}])
@pytest.mark.parametrize("norm", ["group", "layer", "rms"])
def test_equals_the_plain_loop_on_group_norms_and_norms_over_maps(norm, settings):
    backbone = freeze_in_place(GroupNet(), "groups", "", Preprocessing(8, 8), architecture="groups")
    assert distance(backbone, NormTuning(norm=norm, steps=8, **settings)) < 1e-6


@pytest.mark.parametrize("statistics", POLICIES)
def test_the_backbone_is_left_bit_identical(backbone, statistics):
    before = state_of(backbone)
    NormTuning(steps=3, statistics=statistics)(backbone, *problem(dtype=torch.float32))
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
        NormTuning(statistics="batch")(backbone, *problem(dtype=torch.float32))
    assert_same_state(before, state_of(backbone))


@pytest.mark.parametrize("statistics", POLICIES)
def test_an_episode_that_diverges_is_reported_and_does_not_touch_the_others(backbone, statistics):
    settings = NormTuning(steps=5, statistics=statistics)
    x_s, y_s, x_q = problem(dtype=torch.float32)
    expected = settings(backbone, x_s, y_s, x_q)
    x_s[1] = float("inf")
    fit = settings(backbone, x_s, y_s, x_q)
    assert fit.converged.tolist() == [True, False, True]
    assert torch.allclose(fit.logits[::2], expected.logits[::2], atol=1e-6)


def test_learning_rates_that_diverge_are_reported_as_not_finite(backbone):
    fit = NormTuning(lr_norm=1e20, lr_head=1e20, steps=30)(backbone, *problem(dtype=torch.float32))
    assert fit.converged.tolist() == [False] * 3


@pytest.mark.parametrize("settings", [{"batch_size": 4}, {"head": "normal"}, {"augment": "flip,crop,colour"}], ids=str)
def test_chance_belongs_to_the_episode_and_not_to_its_place_in_the_batch(backbone, settings):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    adapter = NormTuning(steps=8, **settings)
    together = adapter(backbone, x_s, y_s, x_q, seeds=SEEDS).logits
    order = [2, 0, 1]
    permuted = adapter(backbone, x_s[order], y_s[order], x_q[order], seeds=[SEEDS[e] for e in order]).logits
    assert torch.allclose(permuted, together[order], atol=1e-5)
    assert not torch.allclose(adapter(backbone, x_s, y_s, x_q, seeds=[1, 2, 3]).logits, together, atol=1e-4)


def test_early_stop_is_counted_in_steps_of_each_episode(backbone):
    x_s, y_s, x_q = problem(dtype=torch.float32)
    x_s[1] = x_s[1, :1]  # six equal images of three classes cannot be learnt
    fit = NormTuning(steps=60, stop_loss=1.0, lr_head=0.2, schedule="constant")(backbone, x_s, y_s, x_q)
    assert fit.steps[1] == 60
    assert (fit.steps[[0, 2]] < 60).all()
    assert fit.converged.all()


def test_bfloat16_stays_close_to_float32_and_keeps_what_is_tuned_in_float32():
    backbone = small_backbone()
    arguments = problem(dtype=torch.float32)
    exact = NormTuning(steps=12)(backbone, *arguments).logits
    rough = NormTuning(steps=12, precision="bfloat16")(backbone, *arguments).logits
    assert rough.dtype == torch.float32
    assert 1e-5 < relative(rough, exact) < 0.1


def test_a_layer_used_twice_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.again = self.norm

        def forward(self, x):
            return self.again(self.norm(self.conv(x))).mean((2, 3))

    backbone = freeze_in_place(Twice(), "twice", "", Preprocessing(8, 8), architecture="Twice")
    for statistics in POLICIES:
        assert distance(backbone, NormTuning(steps=10, lr_norm=0.5, lr_head=0.5, statistics=statistics)) < 1e-6


class Tokens(nn.Module):
    """BatchNorm on a transposed view, which is neither contiguous nor channels last."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear, self.norm = nn.Conv2d(3, 6, 3), nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).mT
        return F.relu(self.norm(self.linear(tokens).mT)).mean(2)


class WritesIntoItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x.sub_(0.3)))).mean((2, 3))


@pytest.mark.parametrize("statistics", POLICIES)
def test_equals_the_plain_loop_where_the_input_of_a_layer_is_a_view(statistics):
    backbone = freeze_in_place(Tokens(), "tokens", "", Preprocessing(8, 8), architecture="tokens")
    assert distance(backbone, NormTuning(steps=8, statistics=statistics)) < 1e-6


@pytest.mark.parametrize("graph", [True, False])
def test_a_network_that_writes_into_its_input_leaves_the_images_alone(graph):
    backbone = freeze_in_place(WritesIntoItsInput(), "writes", "", Preprocessing(8, 8), architecture="writes")
    backbone = replace(backbone, graph=backbone.graph if graph else None)
    backbone.module.double()
    x_s, y_s, x_q = problem()
    found = NormTuning(steps=4)(backbone, x_s, y_s, x_q).logits
    assert all(map(torch.equal, (x_s, x_q), problem()[::2]))
    settings = NormTuning(steps=4, batch_size=100)

    class OnACopy(WritesIntoItsInput):
        def forward(self, x):
            return super().forward(x.clone())

    copying = freeze_in_place(OnACopy(), "copies", "", Preprocessing(8, 8), architecture="copies")
    copying.module.load_state_dict(backbone.module.state_dict())
    copying.module.double()
    assert relative(found, plain_tuning(copying, x_s, y_s, x_q, settings=settings)) < 1e-6


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(self.conv(x).flatten(2).permute(2, 0, 1)).mean(0)


class AsksTheLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x):
        return (self.norm(self.conv(x)) * self.norm.weight.mean()).mean((2, 3))


@pytest.mark.parametrize(
    ("kind", "norm", "message"),
    [
        (SequenceFirst, "layer", "a norm layer of 6 channels gets .* rows for .* images"),
        (AsksTheLayer, "batch", "the network does more with a norm layer than call it on its input"),
    ],
)
def test_what_cannot_be_tuned_episode_by_episode_is_an_error(kind, norm, message):
    backbone = freeze_in_place(kind(), "odd", "", Preprocessing(8, 8), architecture="odd")
    with pytest.raises(ModelError, match=message):
        NormTuning(norm=norm, steps=2)(backbone, *problem(dtype=torch.float32))


def test_a_momentum_of_none_is_a_cumulative_average():
    backbone = small_backbone()
    for name in ("bn1", "bn2", "bn3"):
        backbone.module.get_submodule(name).momentum = None
    assert distance(backbone, NormTuning(steps=5, statistics="batch")) < 1e-6


def test_statistics_of_a_single_value_are_an_error():
    backbone = load_backbone("resnet18", weights="random")
    backbone = replace(backbone, preprocessing=replace(backbone.preprocessing, resize_px=32, crop_px=32))
    NormTuning(statistics="batch").check(backbone, 5, 5)
    NormTuning(batch_size=4).check(backbone, 5, 5)
    with pytest.raises(ModelError, match="resnet18: the BatchNorm layer layer4.0.bn1 sees maps of .* a batch of one"):
        NormTuning(statistics="batch", batch_size=4, scope="layer4.0.bn1,layer4.0.bn2").check(
            replace(backbone, preprocessing=replace(backbone.preprocessing, crop_px=16)), 5, 5
        )
    with pytest.raises(ModelError, match=r"maps of one pixel and a batch of one image"):
        NormTuning(statistics="batch", batch_size=4).check(backbone, 25, 5)
    with pytest.raises(ModelError, match=r"a query set of one image"):
        NormTuning(statistics="transductive").check(backbone, 25, 1)
