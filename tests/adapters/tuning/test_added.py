"""Residual adapters and low-rank products against the loop everyone writes: a deep copy per episode, autograd."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from reference.networks import small_backbone
from reference.plain_adapters import plain_adapters
from reference.tuning import SEEDS, problem
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.swin_transformer import SwinTransformer

from fewshot_bn import rng
from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.tuning.low_rank import LowRank
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.backbones.networks import VisionTransformer as OwnTransformer
from fewshot_bn.backbones.padding import pad_same
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.preprocessing import Preprocessing

TSA, LORA = make_adapter("tsa-ncm", steps=5), LowRank(optimiser="adam", steps=5)


def frozen(network, side=16):
    return freeze_in_place(network, type(network).__name__, "", Preprocessing(side, side), architecture="test")


class Convolutions(nn.Module):
    """Every sort of convolution: grouped, dilated, of even size, with more or less padding, padded by name."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, stride=(1, 2)),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 12, (4, 2), padding=0),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=3, stride=2),
            nn.Conv2d(12, 12, (1, 5), padding="same"),
            nn.Conv2d(12, 12, 3, padding="valid", groups=12),
            nn.Conv2d(12, 5, 1, stride=2),
            nn.BatchNorm2d(5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.layers(x)


def convolutions_padded_same():
    network = Convolutions()
    pad_same(network)
    return network


def mobilenet():
    settings = [[1, 8, 1, 1], [6, 12, 2, 2]]
    return nn.Sequential(
        MobileNetV2(width_mult=0.25, inverted_residual_setting=settings).features[:-1],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def densenet():
    return nn.Sequential(DenseNet(4, (2, 2), 8, bn_size=2).features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def torchvision_transformer():
    network = VisionTransformer(16, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24)
    network.heads = nn.Identity()
    return network


def swin():
    network = SwinTransformer([2, 2], 8, [2, 2], [2, 2], [2, 2], stochastic_depth_prob=0.0)
    network.head = nn.Identity()
    return network


NETWORKS = {
    "convolutions": Convolutions,
    "convolutions, SAME": convolutions_padded_same,
    "ResNet": lambda: CifarResNet(depth=8, width=4),
    "MobileNet": mobilenet,
    "DenseNet": densenet,
    "ViT": lambda: OwnTransformer(2, 16, 2, patch_px=8, image_px=16),
    "torchvision's ViT": torchvision_transformer,
    "Swin": swin,
}


@cache
def network(name):
    """In float64, with weights and statistics that are not those of a new network."""
    with rng.torch_state(0, "test"):
        backbone = frozen(NETWORKS[name]())
    backbone.module.double()
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in backbone.module.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) + 0.5)
        norm.bias.copy_(torch.randn(norm.bias.shape, generator=generator) * 0.3)
        norm.momentum = 1.0
    backbone.module.train()
    with torch.no_grad():
        backbone.module(problem(side=16, seed=3)[0].flatten(0, 1))
    backbone.module.eval()
    return backbone


def still(settings):
    """The same settings, but for a rate of 0 for what is added."""
    return replace(settings, **{"lr_alpha" if hasattr(settings, "lr_alpha") else "lr_factors": 0.0})


def distance(backbone, settings, side=16, seed=0):
    """The largest difference to the plain loop, relative to the largest score; what is added has had an effect."""
    arguments = problem(side=side, seed=seed)
    expected = plain_adapters(backbone, *arguments, settings=settings, seeds=SEEDS)
    fit = settings(backbone, *arguments, seeds=SEEDS)
    assert fit.converged.all()
    scale = float(expected.abs().max())
    assert float((fit.logits - still(settings)(backbone, *arguments, seeds=SEEDS).logits).abs().max()) > 1e-4 * scale
    return float((fit.logits - expected).abs().max()) / scale


WITH_LARGE = ["convolutions", "convolutions, SAME", "ResNet", "MobileNet", "DenseNet"]


@pytest.mark.parametrize("name", WITH_LARGE)
def test_residual_adapters_equal_the_plain_loop(name, fresh_seed):
    assert distance(network(name), TSA, seed=fresh_seed) < 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_low_rank_products_equal_the_plain_loop(name, fresh_seed):
    assert distance(network(name), replace(LORA, lr_factors=0.1), seed=fresh_seed) < 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        replace(TSA, head="zero", beta=False, optimiser="sgd", lr_alpha=0.01),
        replace(TSA, statistics="batch", scope="*conv2"),
        replace(TSA, start=0.0, cosine_scale=3.0, schedule="cosine"),
        replace(LORA, rank=1, alpha=3.0),
        replace(LORA, rank=7, scope="*.0.conv*"),
        replace(LORA, head="ncm", optimiser="adadelta", lr_factors=1.0),
        replace(LORA, statistics="batch", lr_factors=0.01),
        replace(LORA, units="features", head="proto", lr_factors=0.1),
        replace(TSA, units="features", head="proto", lr_alpha=0.1, optimiser="adam"),
        replace(TSA, units="features", head="proto", lr_alpha=0.1, optimiser="sgd", beta=False),
    ],
    ids=str,
)
def test_settings_equal_the_plain_loop(settings, fresh_seed):
    assert distance(network("ResNet"), settings, seed=fresh_seed) < 1e-6


@pytest.mark.full
@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "densenet121"])
@pytest.mark.parametrize("settings", [TSA, LORA], ids=["tsa", "lora"])
def test_networks_of_torchvision_equal_the_plain_loop(model, settings):
    backbone = load_backbone(model, weights="random")
    backbone.module.double()
    assert distance(backbone, replace(settings, steps=2), side=32) < 1e-6


@pytest.mark.full
def test_transformers_of_timm_equal_the_plain_loop():
    timm = pytest.importorskip("timm")
    with rng.torch_state(0, "test"):
        vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2)
        swin_of_timm = timm.create_model(
            "swin_tiny_patch4_window7_224", num_classes=0, img_size=32, window_size=2, depths=(2, 2), embed_dim=24
        )
    for module in (vit, swin_of_timm):
        backbone = frozen(module, 32)
        backbone.module.double()
        assert any(name.endswith("attn.qkv") for name in LORA.choose(backbone))
        assert distance(backbone, replace(LORA, steps=2), side=32) < 1e-6


@pytest.mark.parametrize("settings", [TSA, LORA], ids=["tsa", "lora"])
def test_zeros_start_exactly_as_the_pretrained_network(settings):
    """LoRA's B is zero, and so is α with start=0; the head of class means then is that of the frozen features."""
    still = {"start": 0.0, "lr_alpha": 0.0, "lr_beta": 0.0} if settings is TSA else {"lr_factors": 0.0}
    backbone, (x_s, y_s, x_q) = network("ResNet"), problem(side=16)
    found = replace(settings, head="ncm", steps=1, **still)(backbone, x_s, y_s, x_q).logits
    z_s, z_q = (backbone.module(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (x_s, x_q))
    means = torch.stack([z_s[:, y_s[0] == k].mean(1) for k in range(3)], 1)
    cosines = nn.functional.cosine_similarity(z_q[:, :, None], means[:, None], dim=-1)
    assert torch.allclose(found, 10 * cosines, rtol=1e-12)


@pytest.mark.parametrize("settings", [TSA, LORA], ids=["tsa", "lora"])
def test_the_backbone_stays_as_it_is_after_an_error_too(settings):
    backbone = small_backbone()
    before = copy.deepcopy(backbone.module.state_dict())
    x_s, y_s, x_q = problem(side=8, dtype=torch.float32)

    def broken(*_):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), nn.modules.module.register_module_forward_hook(broken):
        settings(backbone, x_s, y_s, x_q)
    settings(backbone, x_s, y_s, x_q)
    assert all(map(torch.equal, before.values(), backbone.module.state_dict().values()))
    assert not any(p.requires_grad or p.grad is not None for p in backbone.module.parameters())


@pytest.mark.parametrize("settings", [TSA, LORA], ids=["tsa", "lora"])
def test_low_precision_is_close(settings):
    backbone, arguments = small_backbone(), problem(side=8, dtype=torch.float32)
    expected = settings(backbone, *arguments).logits
    found = replace(settings, precision="bfloat16")(backbone, *arguments).logits
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


@pytest.mark.parametrize(
    "changes",
    [
        {"statistics": "converted"},
        {"statistics": "support"},
        {"statistics": "transductive"},
        {"readout": "ridge", "test_augment": "flip", "average_frozen": True},
        {"test_augment": "flip"},
        {"augment": "flip", "stop_loss": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("settings", [TSA, LORA], ids=["tsa", "lora"])
def test_episodes_are_independent_under_other_settings(settings, changes):
    backbone, (x_s, y_s, x_q) = network("ResNet"), problem(side=16)
    settings = replace(settings, **changes)
    together = settings(backbone, x_s, y_s, x_q, seeds=SEEDS).logits
    for e, seed in enumerate(SEEDS):
        alone = settings(backbone, x_s[e : e + 1], y_s[e : e + 1], x_q[e : e + 1], seeds=[seed]).logits
        assert torch.allclose(alone[0], together[e], rtol=1e-6, atol=1e-9)


class DecidesOnData(nn.Module):
    """Cannot be traced; uses one layer's weight without calling it, and another on rows in another order."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.used, self.turned = nn.Conv2d(4, 4, 3), nn.Linear(4, 4), nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)

    def forward(self, x):
        z = self.norm(self.conv(x))
        z = self.conv2(z + 1 if z.isfinite().all() else z)
        z = self.turned(z.permute(2, 3, 0, 1).flatten(0, 2)).unflatten(0, (6, 6, -1)).mean((0, 1))
        return nn.functional.linear(z, self.used.weight)


def test_networks_that_cannot_be_traced_are_run_whole():
    backbone = frozen(DecidesOnData(), 8)
    backbone.module.double()
    assert backbone.graph is None
    assert TSA.choose(backbone) == LORA.choose(backbone) == ["conv2"]
    assert distance(backbone, TSA, side=8) < 1e-6
    assert distance(backbone, LORA, side=8) < 1e-6


@pytest.mark.parametrize("layer", ["used", "turned"])
def test_a_layer_that_cannot_be_run_by_episode_is_named(layer):
    with pytest.raises(ModelError, match=rf"nothing can be added to {layer}: .* --mode ft or ft-last, .* any network"):
        replace(LORA, scope=layer).choose(frozen(DecidesOnData(), 8))


def test_what_cannot_be_chosen_is_said():
    linear = frozen(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)), 8)
    with pytest.raises(ModelError, match=r"has no linear layer .* which this mode adds to; --mode ft or ft-last"):
        LORA.choose(linear)
    with pytest.raises(ModelError, match="ViT.* has no convolution larger than 1x1|no convolution larger than 1x1"):
        TSA.choose(network("ViT"))
    with pytest.raises(
        UsageError, match=r"scope 'conv9' matches no convolution larger than 1x1 of its 2 \(conv1, conv2\)"
    ):
        replace(TSA, scope="conv9").choose(small_backbone())
    with pytest.raises(UsageError, match=r"rank is 9, but the layers of scope=fc have at most 6; take a smaller rank"):
        replace(LORA, scope="fc", rank=9).choose(small_backbone())


def test_scopes():
    backbone = network("ResNet")
    assert TSA.choose(backbone)[0] != "conv1"
    everything = LORA.choose(backbone)
    last = replace(LORA, scope="last").choose(backbone)
    assert 0 < len(last) < len(everything)
    assert everything[-len(last) :] == last
    assert replace(LORA, scope="last-1").choose(backbone) == last
    assert replace(TSA, scope="conv1").choose(backbone) == ["conv1"]


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (TSA, {"batch_size": 4}, "batch_size is 4; head=ncm takes class means"),
        (TSA, {"start": -1.0}, "start is -1.0; it must be a finite number of 0 or more"),
        (TSA, {"lr_beta": -1.0}, "lr_beta is -1.0"),
        (TSA, {"cosine_scale": 0.0}, "cosine_scale is 0.0; it must be a finite number above 0"),
        (LORA, {"rank": 0}, "rank is 0; it must be a finite number above 0"),
        (LORA, {"alpha": 0.0}, "alpha is 0.0"),
        (LORA, {"lr_factors": float("nan")}, "lr_factors is nan"),
    ],
)
def test_wrong_settings(settings, changes, message):
    with pytest.raises(UsageError, match=message):
        replace(settings, **changes)


def test_statistics_need_batch_norm():
    with pytest.raises(UsageError, match="statistics=batch, but it has no BatchNorm layer"):
        replace(LORA, statistics="batch").check(network("ViT"), 6, 5)


def test_norm_tuning_under_the_nearest_class_mean_ignores_how_many_images_are_in_memory():
    settings, arguments = make_adapter("bn-plain", head="ncm", steps=5), problem(side=16)
    expected = settings(network("ResNet"), *arguments).logits
    found = settings(network("ResNet"), *arguments, images_at_once=2).logits
    assert torch.allclose(found, expected, rtol=1e-9)
    assert settings.images_together(6, 5) == 6


def test_memory_of_an_image_counts_what_the_adapters_keep():
    plain = make_adapter("bn-plain").bytes_per_image(small_backbone())
    assert LORA.bytes_per_image(small_backbone()) > 0
    assert TSA.bytes_per_image(small_backbone()) > 0.5 * plain


def test_an_episode_holds_its_values_their_gradients_and_what_the_optimiser_keeps():
    backbone = small_backbone()
    alpha, beta = 8 * 8, 6 * 6
    assert TSA.bytes_held(backbone) == 4 * 4 * (alpha + beta)
    products = 2 * (9 * 8 + 8) + 2 * (8 + 6)
    assert replace(LORA, optimiser="sgd").bytes_held(backbone) == 3 * 4 * products
