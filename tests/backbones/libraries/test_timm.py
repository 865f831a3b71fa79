"""Networks of timm against the real package: outputs, preprocessing, names, weights, norm layers, errors."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d
from torch import nn

from benchmarks.references import plain_tuning
from fewshot_bn.adapters.tuning import episodic_norm, norm_layers
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import choose_layers
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.backbones.fused_norms import BatchNormThenAct
from fewshot_bn.backbones.libraries import timm as ours
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.inputs.images import normalise
from fewshot_bn.preprocessing import pixels_of
from fewshot_bn.runtime import exact_convolutions, move, plain_torch

# Networks by what is tuned in them, and how many such layers they have.
BATCH = {
    "test_efficientnet": 13,
    "mobilenetv3_small_050": 34,
    "efficientnet_b0": 49,
    "regnety_002": 44,
    "resnet10t": 14,
    "densenet121": 121,
    "mobilevit_xxs": 32,
    "ghostnet_050": 80,
    "lambda_resnet26t": 37,  # with convolutions over volumes
}
OTHERS = {"convnext_atto": ("layer", 17), "vit_tiny_patch16_224": ("layer", 25), "resnetv2_50x1_bit": ("group", 49)}
FUSED = ("test_efficientnet", "mixnet_s", "efficientnet_b0", "regnety_002", "densenet121", "mobilevit_xxs")
QUICK = ("test_efficientnet", "mobilenetv3_small_050")


def tiers(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in names]


def as_timm_has_it(backbone, name):
    """The network as timm builds it, with the weights of `backbone`."""
    network = timm.create_model(name, num_classes=0).eval().requires_grad_(requires_grad=False)
    network.load_state_dict(backbone.module.state_dict())
    return move(network, "cpu")


def images(side, n=2):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", tiers([*BATCH, *OTHERS]))
@plain_torch()
@torch.no_grad()
def test_features_are_those_of_timm(name):
    backbone = load_backbone(f"timm:{name}", weights="random")
    x = images(backbone.preprocessing.crop_px)
    with exact_convolutions():
        expected = as_timm_has_it(backbone, name)(x)
    assert torch.equal(backbone.features(x), expected)
    assert backbone.name == f"timm:{name}"
    kind, n = OTHERS.get(name, ("batch", BATCH.get(name)))
    assert len(choose_layers(backbone, kind, "all")) == n


@pytest.fixture
def loop_over_fused_norms(monkeypatch):
    """The plain loop chooses layers as the adapter does, which takes no code but its own and torch's."""
    monkeypatch.setattr(norm_layers, "KNOWN_FORWARDS", (*norm_layers.KNOWN_FORWARDS, BatchNormAct2d.forward))


@pytest.mark.usefixtures("loop_over_fused_norms")
@pytest.mark.parametrize(
    ("name", "statistics"),
    [
        ("test_efficientnet", "converted"),
        ("mobilenetv3_small_050", "batch"),
        *(pytest.param(name, how, marks=pytest.mark.full) for name in FUSED for how in ("frozen", "batch")),
    ],
)
def test_norm_tuning_equals_the_plain_loop_on_the_network_as_timm_has_it(name, statistics):
    backbone = load_backbone(f"timm:{name}", weights="random")
    assert any(isinstance(module, BatchNormThenAct) for module in backbone.module.modules())
    plain = replace(backbone, module=as_timm_has_it(backbone, name).double())
    backbone.module.double()
    settings = NormTuning(steps=2, statistics=statistics)
    assert distance(backbone, plain, settings, torch.float64) < 1e-6


@pytest.mark.usefixtures("loop_over_fused_norms")
@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_fused_norms_on_whole_batches_are_those_of_slices(statistics, monkeypatch):
    backbone = load_backbone("timm:test_efficientnet", weights="random")
    plain = replace(backbone, module=as_timm_has_it(backbone, "test_efficientnet").double())
    backbone.module.double()
    monkeypatch.setattr(episodic_norm, "AT_ONCE", {"cpu"})
    assert distance(backbone, plain, NormTuning(steps=2, statistics=statistics), torch.float64) < 1e-6


def test_fused_norms_stay_in_float32():
    backbone = load_backbone("timm:test_efficientnet", weights="random")
    names = choose_layers(backbone, "batch", "all")
    network = EpisodicNetwork(backbone, dict.fromkeys(names, episodic), 1, low_precision=True)
    x = images(32)[None]
    network.try_cut(x)
    z = network.features(network.stem(x))
    assert z.dtype == torch.float32
    expected = backbone.features(x[0])
    assert torch.allclose(z[0], expected, atol=0.05 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_resnet"])
def test_norm_tuning_of_the_smallest_networks(name):
    norm = "batch" if name == "test_resnet" else "layer"
    backbone = load_backbone(f"timm:{name}", weights="random")
    plain = replace(backbone, module=as_timm_has_it(backbone, name))
    side = backbone.preprocessing.crop_px if name == "test_vit" else 32
    assert distance(backbone, plain, NormTuning(norm=norm, steps=2), torch.float32, side=side) < 1e-3


@pytest.mark.full
def test_group_norms_with_activations_are_tuned():
    backbone = load_backbone("timm:resnetv2_50x1_bit", weights="random")
    plain = replace(backbone, module=as_timm_has_it(backbone, "resnetv2_50x1_bit"))
    assert distance(backbone, plain, NormTuning(norm="group", steps=2), torch.float32) < 1e-3


def distance(backbone, plain, settings, dtype, side=32):
    """To the plain loop, relative to its largest score."""
    generator = torch.Generator().manual_seed(0)
    x_s, x_q = (torch.randn(2, n, 3, side, side, generator=generator, dtype=dtype) for n in (6, 5))
    y_s = torch.tensor([0, 0, 1, 1, 2, 2]).expand(2, -1).contiguous()
    expected = plain_tuning(plain, x_s, y_s, x_q, settings=settings)
    return float((settings(backbone, x_s, y_s, x_q).logits - expected).abs().max() / expected.abs().max())


def test_names_of_parameters_stay():
    backbone = load_backbone("timm:mobilenetv3_small_050", weights="random")
    network = timm.create_model("mobilenetv3_small_050", num_classes=0)
    assert list(backbone.module.state_dict()) == list(network.state_dict())
    assert [name for name, _ in backbone.module.named_modules()] == [name for name, _ in network.named_modules()]


@pytest.mark.parametrize(
    ("name", "geometry"),
    [
        ("resnet18.a1_in1k", "bicubic-short-side-235-crop-224"),
        ("resnet18.tv_in1k", "bilinear-short-side-256-crop-224"),
        ("vit_small_patch16_224.dino", "bicubic-short-side-248-crop-224"),
        ("vit_base_patch16_clip_224.openai", "bicubic-short-side-248-crop-224"),
        ("convnext_base.clip_laion2b", "bicubic-short-side-256-crop-256"),
        ("convnext_base.fb_in22k_ft_in1k_384", "bicubic-both-sides-384-crop-384"),
        ("efficientnet_b0.ra_in1k", "bicubic-short-side-256-crop-224"),
    ],
)
@pytest.mark.parametrize("size", [(400, 300), (97, 130), (500, 500)])
def test_images_are_prepared_as_timm_does_it(name, geometry, size):
    preprocessing = ours.official_preprocessing(name)
    assert preprocessing.geometry == geometry
    rng = np.random.default_rng(np.random.Philox(1))
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG")
    data = timm.data.resolve_data_config(pretrained_cfg=ours._configuration(name))
    expected = timm.data.create_transform(**data, is_training=False)(image)
    pixels = torch.from_numpy(pixels_of(file.getvalue(), preprocessing).copy()).permute(2, 0, 1)[None]
    assert torch.allclose(normalise(pixels, preprocessing, torch.device("cpu"))[0], expected, atol=1e-5)


def test_what_is_done_to_images_otherwise_is_an_error_that_says_what_to_do(monkeypatch):
    facts = {"input_size": (3, 224, 224), "classifier": "fc", "tag": "a1_in1k"}
    for fact, message in (
        ({"crop_mode": "border"}, "crop_mode border"),
        ({"interpolation": "lanczos"}, "interpolation lanczos"),
        ({"input_size": (1, 224, 224)}, "channels 1"),
        ({"input_size": (3, 224, 112)}, "width 112"),
    ):
        monkeypatch.setattr(ours, "_configuration", lambda name, fact=fact: facts | fact)
        with pytest.raises(ModelError, match=f"its preprocessing has {message}, which is not done here .* --preproc"):
            load_backbone("timm:test_resnet", weights="random")
    chosen = "crop=64,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"
    assert load_backbone("timm:test_resnet", weights="random", preprocessing=chosen).preprocessing.crop_px == 64
    with pytest.raises(ModelError, match=r"width 112.*\(--preprocessing does not name mean, std\)"):
        load_backbone("timm:test_resnet", weights="random", preprocessing="crop=64")


def test_a_tag_is_a_name_of_weights(monkeypatch):
    drawn = timm.create_model("test_resnet", num_classes=0)
    asked = []

    def create(name, **more):
        asked.append(name if more.pop("pretrained", False) else None)
        network = original(name, **more)
        if asked[-1]:
            network.load_state_dict(drawn.state_dict())
        return network

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    ways = [
        load_backbone("timm:test_resnet.r160_in1k"),
        load_backbone("timm:test_resnet", weights="r160_in1k"),
        load_backbone("timm:test_resnet@r160_in1k"),
        load_backbone("timm:test_resnet"),
    ]
    assert {name for name in asked if name} == {"test_resnet.r160_in1k"}
    assert {(way.name, way.weights) for way in ways} == {("timm:test_resnet", "r160_in1k")}
    assert len({way.fingerprint for way in ways}) == len({way.preprocessing for way in ways}) == 1
    assert torch.equal(ways[0].module.conv1[0].weight, drawn.conv1[0].weight)
    with pytest.raises(UsageError, match="timm:resnet18.a1_in1k is asked for with the weights a2_in1k; give one of"):
        load_backbone("timm:resnet18.a1_in1k", weights="a2_in1k")


def test_a_file_loses_its_head(tmp_path):
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.pth")
    backbone = load_backbone("timm:test_resnet", weights=tmp_path / "w.pth")
    assert (backbone.weights, backbone.notices) == ("w.pth", ())
    with pytest.raises(ModelError, match="do not fit the network"):
        load_backbone("timm:test_vit", weights=tmp_path / "w.pth")


def test_a_file_of_another_size_is_converted_by_timm_and_that_is_said(tmp_path):
    torch.save(timm.create_model("test_vit", num_classes=7, img_size=96).state_dict(), tmp_path / "w.pth")
    backbone = load_backbone("timm:test_vit", weights=tmp_path / "w.pth")
    assert "w.pth: does not fit the network as it is, but does once timm's checkpoint" in backbone.notices[0]
    torch.save({"strange": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="do not fit the network.*missing"):
        load_backbone("timm:test_vit", weights=tmp_path / "other.pth")


def test_an_untrained_network_has_all_its_branches():
    backbone = load_backbone("timm:resnet10t", weights="random")
    norms = [module for module in backbone.module.modules() if isinstance(module, nn.BatchNorm2d)]
    assert any(
        not norm.weight.any() for norm in timm.create_model("resnet10t").modules() if type(norm) is type(norms[0])
    )
    assert all((norm.weight == 1).all() for norm in norms)
    torch.rand(3)
    assert load_backbone("timm:resnet10t", weights="random").fingerprint == backbone.fingerprint


def write_card(folder, network, arguments="{}"):
    (folder / "card.toml").write_text(
        f'name = "mine"\ntitle = "Mine"\nnetwork = "{network}"\narguments = {arguments}\nweights = "w.pth"\n'
        "preprocessing = { resize_px = 64, crop_px = 64 }\n"
    )
    return str(folder / "card.toml")


def test_a_card_may_name_one(tmp_path):
    assert load_backbone(write_card(tmp_path, "timm:test_resnet"), weights="random").name == "mine"
    wide = load_backbone(write_card(tmp_path, "timm:test_vit", "{ img_size = 64, num_classes = 5 }"), weights="random")
    assert (wide.dim, wide.module.patch_embed.img_size) == (64, (64, 64))
    with pytest.raises(ModelError, match="checkpoint_path: no argument of a network"):
        load_backbone(write_card(tmp_path, "timm:test_vit", '{ checkpoint_path = "w.pth" }'), weights="random")
    with pytest.raises(ModelError, match="timm:test_vit: cannot be built with .*widht"):
        load_backbone(write_card(tmp_path, "timm:test_vit", "{ widht = 2 }"), weights="random")


def test_errors_name_what_is_near():
    with pytest.raises(UsageError, match=r"unknown timm network 'resnet81' \(did you mean 'resnet18"):
        load_backbone("timm:resnet81")
    with pytest.raises(UsageError, match=r"unknown weights of timm:resnet18 'a1_in2k' \(did you mean 'a1_in1k'"):
        load_backbone("timm:resnet18", weights="a1_in2k")
    with pytest.raises(ModelError, match="timm:convnextv2_small: timm has no pretrained weights of it; give the path"):
        load_backbone("timm:convnextv2_small")


@pytest.mark.full
def test_a_network_for_images_of_one_size_is_told_how_to_take_others(tmp_path):
    with pytest.raises(ModelError, match=r"vit_tiny_patch16_224: .* images of 64 px: .* dynamic_img_size = true"):
        load_backbone("timm:vit_tiny_patch16_224", weights="random", preprocessing="crop=64")
    card = write_card(tmp_path, "timm:vit_tiny_patch16_224", "{ dynamic_img_size = true }")
    assert load_backbone(card, weights="random").dim == 192


def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError,
        match=r"timm:test_resnet.r160_in1k: .* https://huggingface.co/timm/test_resnet.r160_in1k \(model.safetensors\)"
        ".*path with --weights, or put it into the cache",
    ):
        load_backbone("timm:test_resnet")


def test_weights_in_the_cache_of_the_hub_need_no_network(monkeypatch, tmp_path):
    network, commit = timm.create_model("test_resnet"), "0" * 40
    folder = tmp_path / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    save_file(network.state_dict(), folder / "snapshots" / commit / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    backbone = load_backbone("timm:test_resnet")
    assert (backbone.weights, backbone.dim) == ("r160_in1k", 96)
    assert torch.equal(backbone.module.conv1[0].weight, network.conv1[0].weight)
    by_hand = load_backbone("timm:test_resnet", weights=folder / "snapshots" / commit / "model.safetensors")
    assert by_hand.fingerprint == backbone.fingerprint


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"timm:NAME needs timm .*: pip install 'fewshot_bn\[timm\]'"):
        load_backbone("timm:resnet18")
    assert load_backbone("resnet18", weights="random").name == "resnet18"


def test_cards_of_timm_are_shown_checked_and_converted(tmp_path, capsys):
    from fewshot_bn.models import main

    network = timm.create_model("test_efficientnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    facts = ['name = "x"', 'title = "X"', 'network = "timm:test_efficientnet"', 'weights = "x.safetensors"']
    (tmp_path / "x.toml").write_text("\n".join([*facts, "preprocessing = { resize_px = 32, crop_px = 32 }"]))
    file, card = str(tmp_path / "x.safetensors"), str(tmp_path / "x.toml")
    assert main(["show", card]) == 0
    assert main(["check", file, "--card", card]) == 0
    assert main(["convert", file, "--card", card, "--output", str(tmp_path / "new.safetensors")]) == 0
    assert "of timm:test_efficientnet" in capsys.readouterr().out
