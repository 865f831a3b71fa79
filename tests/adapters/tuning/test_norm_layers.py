"""Which layers a scope means, and what networks lack them."""

import pytest
import torch
from torch import nn

from fewshot_bn.adapters.tuning.norm_layers import choose_layers, input_sizes
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def resnet50():
    return load_backbone("resnet50", weights="random")


def n_values(backbone, names):
    return sum(p.numel() for name in names for p in backbone.module.get_submodule(name).parameters())


def test_the_published_scopes_have_the_published_sizes(resnet50):
    bn23, everything = (choose_layers(resnet50, "batch", scope) for scope in ("bn23", "all"))
    assert (len(bn23), n_values(resnet50, bn23)) == (33, 37_888)
    assert (len(everything), n_values(resnet50, everything)) == (53, 53_120)


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("resnet50", "layer4."),
        ("resnet18", "layer4."),
        ("regnet_y_400mf", "trunk_output.block4."),
        pytest.param("densenet121", "features.denseblock4.", marks=pytest.mark.full),
    ],
)
def test_the_last_stage(model, stage):
    names = choose_layers(load_backbone(model, weights="random"), "batch", "last")
    assert len(names) > 3
    assert all(name.startswith(stage) or name == "features.norm5" for name in names)


def test_the_last_stage_of_a_resnet_is_the_whole_of_layer4(resnet50):
    in_layer4 = [name for name in choose_layers(resnet50, "batch", "all") if name.startswith("layer4.")]
    assert set(choose_layers(resnet50, "batch", "last")) == set(in_layer4)


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("convnext_tiny", ("features.7", "classifier")),
        pytest.param("swin_t", ("features.6", "features.7", "norm"), marks=pytest.mark.full),
    ],
)
def test_the_last_stage_of_networks_with_layer_norms(model, stages):
    names = choose_layers(load_backbone(model, weights="random"), "layer", "last")
    assert {
        name.split(".")[0] if not name.startswith("features") else ".".join(name.split(".")[:2]) for name in names
    } == set(stages)


def test_a_batch_norm_with_code_of_its_own_is_an_error():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    network = nn.Sequential(nn.Conv2d(3, 4, 3), WithActivation(4), nn.Flatten())
    backbone = freeze_in_place(network, "odd", "", Preprocessing(8, 8), architecture="odd")
    with pytest.raises(ModelError, match="odd: the BatchNorm layer 1 is a WithActivation with code of its own"):
        choose_layers(backbone, "batch", "all")


def test_patterns(resnet50):
    assert choose_layers(resnet50, "batch", "bn1, layer1.0.bn?") == [
        "bn1",
        "layer1.0.bn1",
        "layer1.0.bn2",
        "layer1.0.bn3",
    ]
    with pytest.raises(UsageError, match="resnet50: scope 'layer9.*' matches none of its 53 BatchNorm layers .bn1, "):
        choose_layers(resnet50, "batch", "layer4.*,layer9.*")


def test_bn23_needs_the_names_of_a_resnet():
    with pytest.raises(UsageError, match="mobilenet_v2: scope bn23 needs blocks with layers named bn2"):
        choose_layers(load_backbone("mobilenet_v2", weights="random"), "batch", "bn23")


def test_a_backbone_without_such_layers_is_an_error(resnet50):
    vit = load_backbone("vit_b_32", weights="random")
    with pytest.raises(ModelError, match="vit_b_32: no BatchNorm layer .* layers are LayerNorm; --mode ln tunes those"):
        choose_layers(vit, "batch", "all")
    with pytest.raises(ModelError, match="resnet50: no GroupNorm layer .* layers are BatchNorm2d; --mode bn tunes"):
        choose_layers(resnet50, "group", "all")


def test_batch_norm_without_running_statistics_is_an_error():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    backbone = freeze_in_place(network, "odd", "", Preprocessing(8, 8), architecture="odd")
    with pytest.raises(ModelError, match="odd: the BatchNorm layer 1 keeps no running statistics"):
        choose_layers(backbone, "batch", "all")


def test_input_sizes_are_those_of_the_forward_pass_and_leave_no_hook(resnet50):
    sizes = input_sizes(resnet50, "batch")
    assert (sizes["bn1"], sizes["layer4.2.bn3"]) == (torch.Size([64, 112, 112]), torch.Size([2048, 7, 7]))
    assert not any(module._forward_pre_hooks for module in resnet50.module.modules())
