"""Fine-tuning of weights against the loop everyone writes: one episode at a time, a deep copy, torch's own layers."""

import gc
import itertools
import weakref
from dataclasses import replace

import pytest
import torch
from reference.networks import small_backbone
from reference.tuning import SEEDS, assert_same_state, problem, state_of
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from benchmarks.references import plain_tuning
from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.tuning.adapted import Episodes
from fewshot_bn.adapters.tuning.multiples import multiples
from fewshot_bn.adapters.tuning.weights import FineTuning, Weights
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.preprocessing import Preprocessing

POLICIES = ["frozen", "batch", "converted", "transductive"]


def distance(backbone, settings, arguments):
    """The largest difference to the plain loop, relative to the largest score."""
    backbone.module.to(arguments[0].dtype)
    expected = plain_tuning(backbone, *arguments, settings=settings, seeds=SEEDS)
    fit = settings(backbone, *arguments, seeds=SEEDS[: len(arguments[0])])
    assert fit.converged.all()
    return float((fit.logits - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("statistics", "head", "optimiser"),
    list(itertools.product(POLICIES, ["zero", "normal", "proto", "lr"], ["sgd", "adam"])),
)
def test_equals_the_plain_loop_for_every_policy_head_and_optimiser(statistics, head, optimiser, fresh_seed):
    settings = FineTuning(statistics=statistics, head=head, optimiser=optimiser, steps=8)
    assert distance(small_backbone(fresh_seed), settings, problem(seed=fresh_seed)) < 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_body": 0.0},
        {"lr_body": 0.1, "lr_head": 0.003, "momentum": 0.5, "weight_decay": 0.01},
        {"momentum": 0.0, "momentum_head": 0.9, "dampening_head": 0.9, "weight_decay_head": 0.1},
        {"units": "relative", "lr_body": 1.0, "optimiser": "adam"},
        {"units": "relative", "lr_body": 10.0, "scope": "bias", "statistics": "batch"},
        {"units": "relative", "lr_body": 10.0, "weight_decay": 0.1, "statistics": "converted"},
        {"units": "features", "lr_body": 0.5, "optimiser": "adam", "head": "lr", "scaling": "l2"},
        {"units": "features", "lr_body": 0.5, "head": "proto", "statistics": "batch", "scope": "bn2.*,fc.*"},
        {"units": "features", "lr_body": 0.5, "optimiser": "adam", "head": "normal", "batch_size": 4},
        {"optimiser": "adamw", "weight_decay": 0.1, "momentum_head": 0.5},
        {"optimiser": "adadelta", "lr_body": 0.1, "lr_head": 1.0},
        {"scope": "bias"},
        {"scope": "bias", "statistics": "batch"},
        {"scope": "bn2.*,fc.weight", "statistics": "converted"},
        {"scope": "conv2.weight"},
        {"batch_size": 4, "statistics": "batch"},
        {"steps": 0, "epochs": 4, "batch_size": 2, "statistics": "converted"},
        {"stop_loss": 1.05, "lr_head": 0.1},
        {"scaling": "l2", "head": "lr", "C": 10.0},
        {"readout": "ridge", "statistics": "transductive", "test_augment": "flip"},
        {"readout": "lr", "average_frozen": True},
        {"readout": "lr+ridge", "test_augment": "centre"},
    ],
    ids=str,
)
def test_equals_the_plain_loop_for_every_other_setting(settings):
    assert distance(small_backbone(), replace(FineTuning(steps=8), **settings), problem()) < 1e-6


@pytest.mark.parametrize("mode", ["ft", "ft-plain", "ft-cdfsl", "lp-ft", "daft", "bias", "bitfit"])
def test_equals_the_plain_loop_for_the_presets(mode):
    settings = ADAPTERS[mode]
    shorter = replace(settings, epochs=min(settings.epochs, 4), steps=min(settings.steps, 12))
    assert distance(small_backbone(), shorter, problem()) < 1e-6


@pytest.mark.parametrize(
    ("model", "scope"),
    [
        ("regnet_y_400mf", "all"),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in [
                ("resnet18", "last"),
                ("resnet18", "all"),
                ("mobilenet_v2", "all"),
                ("mobilenet_v2", "last-2"),
                ("densenet121", "last"),
                ("efficientnet_b0", "bias"),
            ]
        ),
    ],
)
@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_equals_the_plain_loop_on_torchvision_networks(model, scope, statistics):
    settings = FineTuning(steps=2, statistics=statistics, scope=scope)
    assert distance(load_backbone(model, weights="random"), settings, problem(2, side=32)) < 1e-6


@pytest.mark.parametrize("units", ["relative", "features"])
@pytest.mark.parametrize("model", [pytest.param("resnet18", marks=pytest.mark.full), "mobilenet_v2"])
def test_equals_the_plain_loop_in_the_units_of_filters_and_features(units, model):
    settings = FineTuning(steps=3, units=units, lr_body=0.5, optimiser="adam", head="lr", scaling="l2", batch_size=4)
    assert distance(load_backbone(model, weights="random"), settings, problem(2, side=32)) < 1e-6


def transformer():
    network = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)
    network.heads = nn.Identity()
    return freeze_in_place(network, "vit", "", Preprocessing(32, 32), architecture="vit")


@pytest.mark.parametrize("scope", ["all", "bias", "last-1", "class_token,encoder.pos_embedding", "*in_proj_weight"])
def test_equals_the_plain_loop_on_a_transformer(scope):
    assert distance(transformer(), FineTuning(steps=4, scope=scope), problem(2, side=32)) < 1e-6


def test_equals_the_plain_loop_on_a_transformer_in_the_units_of_features():
    settings = FineTuning(steps=4, units="features", lr_body=0.5, optimiser="adam", head="lr", scaling="l2")
    assert distance(transformer(), settings, problem(2, side=32)) < 1e-6


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_the_first_step_moves_the_features_by_the_rate(rate, fresh_seed):
    backbone, (x_s, y_s, x_q) = small_backbone(fresh_seed), problem(1, seed=fresh_seed)
    backbone.module.double()
    settings = FineTuning(steps=1, units="features", lr_body=rate / 100, optimiser="adam", head="lr", scaling="l2")
    tuned = settings.adapted(backbone, settings.choose(backbone), Episodes(x_s, y_s, x_q, [0], None))
    before = F.normalize(backbone.features(x_s[0]), dim=1)
    with torch.no_grad():
        after = F.normalize(next(tuned.features(x_s))[0], dim=1)
    assert float((after - before).norm(dim=1).mean()) == pytest.approx(rate / 100, rel=0.05)


@pytest.mark.parametrize("units", ["absolute", "features"])
def test_the_weights_of_an_episode_go_with_it(units, backbone, monkeypatch):
    """Without waiting for Python to find cycles, which it does by the number of objects and not by their size."""
    made, make = [], FineTuning.network

    def network(self, *arguments):
        one = make(self, *arguments)
        made.extend(weakref.ref(value) for value in one.own.values())
        return one

    monkeypatch.setattr(FineTuning, "network", network)
    gc.disable()
    try:
        FineTuning(steps=2, units=units, head="lr")(backbone, *problem(2, dtype=torch.float32))
        assert made
        assert not [value for value in made if value() is not None]
    finally:
        gc.enable()


def test_a_filter_of_zeros_stays_as_it_is_and_a_tensor_of_zeros_does_not(backbone):
    with torch.no_grad():
        backbone.module.conv2.weight[1] = 0
        backbone.module.fc.bias.zero_()
    settings = FineTuning(steps=3, units="relative", lr_body=10.0, optimiser="adam", head="lr")
    network = settings.network(backbone, settings.choose(backbone), 1)
    Weights(network, "relative").apply()
    units = {name: each.unit for (name, each) in zip(network.own, multiples(network), strict=True)}
    assert not units["conv2.weight"][1].any()
    assert units["conv2.weight"][0].all()
    assert units["fc.bias"].all()


@pytest.mark.parametrize("scope", ["all", "bias", "0.*,1.fc.*"])
def test_equals_the_plain_loop_on_networks_side_by_side(scope):
    both = concatenate([small_backbone(1), small_backbone(2)])
    assert distance(both, FineTuning(steps=4, statistics="batch", scope=scope), problem()) < 1e-6


@pytest.mark.parametrize(
    ("statistics", "batch_size", "more"),
    [
        ("frozen", 0, {}),
        ("frozen", 5, {}),
        ("batch", 0, {}),
        ("frozen", 5, {"units": "features", "lr_body": 0.1, "head": "lr"}),
        ("batch", 0, {"units": "features", "lr_body": 0.1, "head": "proto"}),
    ],
)
def test_how_many_images_are_in_memory_at_once_does_not_matter(backbone, statistics, batch_size, more):
    backbone.module.double()
    settings = FineTuning(steps=8, statistics=statistics, batch_size=batch_size, stop_loss=0.9, **more)
    expected = settings(backbone, *problem(), seeds=SEEDS)
    for n in (1, 2, 4, 100):
        fit = settings(backbone, *problem(), seeds=SEEDS, images_at_once=n)
        assert torch.allclose(fit.logits, expected.logits, rtol=1e-9, atol=1e-11)
        assert torch.equal(fit.steps, expected.steps)


@pytest.mark.parametrize("statistics", [*POLICIES, "support", "support+query"])
def test_the_backbone_is_left_bit_identical(backbone, statistics):
    before = state_of(backbone)
    FineTuning(steps=3, statistics=statistics)(backbone, *problem(dtype=torch.float32))
    assert_same_state(before, state_of(backbone))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_the_backbone_is_left_bit_identical_when_interrupted(backbone, interruption, monkeypatch):
    before, calls, cross_entropy = state_of(backbone), [], F.cross_entropy

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise interruption
        return cross_entropy(*args, **kwargs)

    monkeypatch.setattr(F, "cross_entropy", interrupted)
    with pytest.raises(interruption):
        FineTuning(statistics="batch")(backbone, *problem(dtype=torch.float32))
    assert_same_state(before, state_of(backbone))


def test_what_lies_before_the_first_trained_layer_runs_once_per_image(backbone):
    network = FineTuning(scope="fc.*").network(backbone, ["fc.weight", "fc.bias"], 1)
    calls = []
    network._network.get_submodule("conv2").register_forward_hook(lambda *_: calls.append(1))
    stem = network.stem(problem(1, dtype=torch.float32)[0])
    for _ in range(3):
        network.features(stem)
    assert len(calls) == 1


def test_rates_that_diverge_are_reported_as_not_finite(backbone):
    fit = FineTuning(lr_body=1e20, lr_head=1e20, steps=30)(backbone, *problem(dtype=torch.float32))
    assert fit.converged.tolist() == [False] * 3


def test_bfloat16_stays_close_to_float32_and_keeps_the_weights_in_float32():
    backbone, arguments = small_backbone(), problem(dtype=torch.float32)
    settings = FineTuning(steps=12, precision="bfloat16")
    exact = replace(settings, precision="float32")(backbone, *arguments).logits
    rough = settings(backbone, *arguments).logits
    assert rough.dtype == torch.float32
    assert 1e-5 < float((rough - exact).abs().max() / exact.abs().max()) < 0.1
    assert all(p.dtype == torch.float32 for p in settings.network(backbone, ["conv1.weight"], 1).own.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_body": -1.0}, "lr_body is -1.0; it must be a finite number of 0 or more"),
        ({"momentum_head": 2.0}, "momentum_head is 2.0; it must be at least 0 and below 1; or -1 for that of the netw"),
        ({"momentum_head": 0.0, "dampening_head": 0.5}, "dampening needs optimiser=sgd with a momentum above 0"),
        ({"weight_decay_head": -2.0}, "weight_decay_head is -2.0"),
        ({"units": "features", "head": "zero"}, "units=features needs a head other than zero"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UsageError, match=message):
        make_adapter("ft-plain", **settings)


def test_statistics_without_a_batch_norm_in_scope_are_an_error(backbone):
    with pytest.raises(UsageError, match="statistics=batch, but scope=conv1.weight has nothing of a BatchNorm layer"):
        FineTuning(scope="conv1.weight", statistics="batch").check(backbone, 5, 5)
    FineTuning(statistics="batch").check(transformer(), 5, 5)  # a network without BatchNorm has no such policy
