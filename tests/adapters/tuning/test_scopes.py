"""Which parameters are fine-tuned."""

import pytest
from reference.networks import small_backbone
from torch import nn

from fewshot_bn.adapters.tuning.scopes import blocks, choose_parameters
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import FewshotError
from fewshot_bn.preprocessing import Preprocessing


def names_of(backbone):
    return [name for name, _ in backbone.module.named_parameters()]


@pytest.mark.parametrize(
    ("model", "n_blocks", "last", "last_two"),
    [
        ("resnet18", 8, "layer4.0.conv1.weight", "layer4.0.conv1.weight"),
        ("mobilenet_v2", 17, "features.14.conv.0.0.weight", "features.16.conv.0.0.weight"),
        ("densenet121", 58, "features.denseblock4.denselayer1.norm1.weight", "features.denseblock4.denselayer15.nor"),
        ("regnet_y_400mf", 16, "trunk_output.block4.block4-0.proj.0.weight", "trunk_output.block4.block4-4.f.a.0"),
        ("convnext_tiny", 18, "features.7.0.layer_scale", "features.7.1.layer_scale"),
        ("swin_t", 12, "features.7.0.norm1.weight", "features.7.0.norm1.weight"),
    ],
)
def test_blocks_and_stages(model, n_blocks, last, last_two):
    backbone = load_backbone(model, weights="random")
    assert len(blocks(backbone.module)) == n_blocks
    for scope, first in (("last", last), ("last-2", last_two)):
        chosen = choose_parameters(backbone, scope)
        assert chosen[0].startswith(first)
        assert chosen == names_of(backbone)[-len(chosen) :]


def test_biases_are_those_of_norm_layers_too():
    backbone = load_backbone("resnet18", weights="random")
    chosen = choose_parameters(backbone, "bias")
    assert len(chosen) == 20
    assert all(name.endswith(".bias") for name in chosen)


def test_parts_of_a_scope_are_united():
    backbone = load_backbone("resnet18", weights="random")
    scales = choose_parameters(backbone, "scales")
    assert len(scales) == 20
    assert all(backbone.module.get_parameter(name).ndim == 1 for name in scales)
    chosen = choose_parameters(backbone, "last-1, scales")
    assert chosen == [n for n in names_of(backbone) if n in scales or n.startswith("layer4.1.")]


def test_patterns_and_members():
    one, two = small_backbone(1), small_backbone(2)
    assert choose_parameters(one, "fc.*, bn2.bias") == ["bn2.bias", "fc.weight", "fc.bias"]
    assert choose_parameters(one, "all") == names_of(one)
    both = concatenate([one, two])
    assert choose_parameters(both, "bias") == [f"{k}.{name}" for k in (0, 1) for name in choose_parameters(one, "bias")]
    assert set(choose_parameters(both, "1.fc.*")) == {"1.fc.weight", "1.fc.bias"}


def without_bias():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return freeze_in_place(network, "plain", "", Preprocessing(8, 8), architecture="plain")


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (
            "layer9.*",
            "plain: scope 'layer9.*' matches none of its 1 parameters .0.weight.; choose from: all, bias",
        ),
        ("last", "plain: scope=last, but it has no stages of blocks with maps of different size; take last-N"),
        ("last-1", "plain: scope=last-1, but it repeats no block; choose from: all"),
        ("last-0", "scope 'last-0' matches none"),
        ("", "scope '' matches none"),
        ("bias", "plain: has no parameter of scope=bias"),
    ],
)
def test_what_matches_nothing_is_an_error(scope, message):
    with pytest.raises(FewshotError, match=message):
        choose_parameters(without_bias(), scope)


def test_more_blocks_than_there_are_is_an_error():
    with pytest.raises(FewshotError, match="resnet18: scope=last-9, but it repeats 8 blocks"):
        choose_parameters(load_backbone("resnet18", weights="random"), "last-9")
