import pytest
import torch
from reference.places import CARDS, SHARED, needs_shared
from torch import nn
from torchvision.models import resnet18

from fewshot_bn.backbones.backbone import with_preprocessing
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.preprocessing import Preprocessing

REAL = {
    "mobilenet_v2_035": ("mobilenet_v2_035_imagenet_features.pth", 1280),
    "mobilenet_v1_025": ("mobilenetV1X0.25_pretrain.original.pth.tar", 256),
    "conv4": ("conv4_protonet_miniimagenet_5shot.pth", 1600),
    "resnet20": ("resnet20-12fca82f.th", 64),
}


def write_card(tmp_path, **replaced):
    """A card of a Conv4 of width 2 and its weights."""
    from fewshot_bn.backbones.networks import Conv4
    from fewshot_bn.files.atomic import sha256_of

    torch.save(Conv4(2).state_dict(), tmp_path / "weights.pth")
    values = {
        "name": '"mine"',
        "title": '"Mine"',
        "network": '"conv4"',
        "arguments": "{ width = 2 }",
        "weights": '"weights.pth"',
        "sha256": f'"{sha256_of(tmp_path / "weights.pth")}"',
        "preprocessing": "{ resize_px = 32, crop_px = 32 }",
        **replaced,
    }
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in values.items()))
    return str(path)


@needs_shared
@pytest.mark.parametrize("card", REAL)
def test_real_checkpoints_load_strictly(card):
    file, dim = REAL[card]
    backbone = load_backbone(str(CARDS / f"{card}.toml"), weights=str(SHARED / "weights" / file), strict=True)
    assert (backbone.dim, backbone.notices) == (dim, ())
    x = torch.randn(2, 3, *(backbone.preprocessing.crop_px,) * 2, generator=torch.Generator().manual_seed(0))
    assert backbone.features(x).shape == (2, dim)
    assert backbone.features(x).isfinite().all()


@needs_shared
def test_norm_eps_of_a_card_is_used():
    file, _ = REAL["mobilenet_v2_035"]
    backbone = load_backbone(str(CARDS / "mobilenet_v2_035.toml"), weights=str(SHARED / "weights" / file))
    assert {m.eps for m in backbone.module.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_the_shipped_weights_load_and_are_whole():
    backbone = load_backbone(strict=True)
    assert backbone.name == DEFAULT_MODEL
    assert backbone.features(torch.zeros(1, 3, *(backbone.preprocessing.crop_px,) * 2)).shape == (1, backbone.dim)


def test_a_backbone_is_frozen_and_in_eval_mode(tmp_path):
    backbone = load_backbone(write_card(tmp_path))
    assert not any(m.training for m in backbone.module.modules())
    assert not any(p.requires_grad for p in backbone.module.parameters())
    assert not backbone.features(torch.zeros(1, 3, 32, 32)).requires_grad


def test_the_fingerprint_stands_for_architecture_and_weights(tmp_path):
    same = load_backbone(write_card(tmp_path)).fingerprint
    assert load_backbone(str(tmp_path / "mine.toml")).fingerprint == same
    assert load_backbone(str(tmp_path / "mine.toml"), weights="random").fingerprint != same
    assert load_backbone(write_card(tmp_path, norm_eps="0.01")).fingerprint != same


@pytest.mark.parametrize("name", ["resnet18", pytest.param("vit_b_32", marks=pytest.mark.full)])
def test_random_weights_are_a_fixed_draw_that_ignores_the_global_generator(name):
    first = load_backbone(name, weights="random")
    torch.rand(3)
    assert load_backbone(name, weights="random").fingerprint == first.fingerprint


def test_a_file_for_a_torchvision_network_may_hold_the_head(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18(num_classes=7).state_dict(), tmp_path / "r.pth")
    backbone = load_backbone("torchvision:resnet18", weights=str(tmp_path / "r.pth"))
    assert (backbone.name, backbone.dim, backbone.weights) == ("resnet18", 512, "r.pth")
    with pytest.raises(ModelError, match=r"do not fit the network: \d+ missing .*layer1.2.conv1.weight"):
        load_backbone("resnet34", weights=str(tmp_path / "r.pth"))


def test_other_weights_than_the_cards_are_noticed_and_with_strict_an_error(tmp_path):
    from fewshot_bn.backbones.networks import Conv4

    card = write_card(tmp_path)
    torch.save(Conv4(2).state_dict(), tmp_path / "other.pth")
    assert "these are other weights" in load_backbone(card, weights=str(tmp_path / "other.pth")).notices[0]
    with pytest.raises(ModelError, match="--strict"):
        load_backbone(card, weights=str(tmp_path / "other.pth"), strict=True)
    (tmp_path / "other.pth").rename(tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="damaged or changed"):
        load_backbone(card)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"network": '"conv5"'}, r"unknown network 'conv5' \(did you mean 'conv4'\?\)"),
        ({"network": '"torchvision:resnet19"'}, ": unknown torchvision network 'resnet19'"),
        ({"network": '"resnet18"'}, r"unknown network 'resnet18'; write network = \"torchvision:resnet18\""),
        ({"network": '"torchvision:resnet18"', "arguments": "{ depth = 3 }"}, r"\w+: resnet18: cannot be built with"),
        ({"name": '""'}, "name is empty"),
        ({"weights": '""'}, "its card names no file of weights; name one with --weights"),
        ({"preprocessing": "{ mean = [123.7, 116.3, 103.5] }"}, "pixels are in 0..1 here: divide mean and std by 255"),
        ({"arguments": "{ widht = 2 }"}, "conv4 cannot be built with .*widht"),
        ({"arguments": "{ width = 3 }"}, "mis-shaped|of another shape"),
        ({"weights": '"absent.pth"'}, "no weights file .*absent.pth"),
        ({"preprocessing": "{ resize_px = 32, crop_px = 64 }"}, "cannot crop 64 px"),
        ({"preprocessing": "{ resize_px = 32, crop_px = 32, mean = [0.5] }"}, "mean: has 1 values, 3 are needed"),
        ({"preprocessing": "{ resize_px = 9, crop_px = 9 }"}, "does not take images of 9 px"),
        ({"arguments": "{ width = -1 }"}, "conv4 cannot be built with .*-1"),
        ({"norm_eps": "-1.0"}, "norm_eps is -1.0; it must be a finite number above 0"),
        ({"title": "1"}, "title: 1 is not of type str"),
    ],
)
def test_wrong_cards(tmp_path, replaced, message):
    with pytest.raises((ModelError, UsageError), match=message):
        load_backbone(write_card(tmp_path, **replaced))


def test_unknown_models_and_weights_name_the_closest():
    with pytest.raises(UsageError, match=r"unknown model 'resnet05' \(did you mean 'resnet50'\?\)"):
        load_backbone("resnet05")
    with pytest.raises(
        UsageError, match=r"unknown weights of resnet50 'IMAGENET_V1' \(did you mean 'IMAGENET1K_V1'\?\)"
    ):
        load_backbone("resnet50", weights="IMAGENET_V1")
    with pytest.raises(ModelError, match="this card cannot be read"):
        load_backbone("absent.toml")


def test_networks_that_give_no_feature_vector():
    with pytest.raises(ModelError, match="no linear layer"):
        load_backbone("squeezenet1_0", weights="random")


def test_official_weights_that_cannot_be_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.os.path.exists", lambda path: False)
    with pytest.raises(ModelError, match=r"IMAGENET1K_V1 could not be downloaded .* with --weights"):
        load_backbone("resnet18")


def test_official_weights_are_loaded_without_their_head(monkeypatch):
    """With torch.hub's download replaced, everything else of the official path is real."""
    from torchvision.models import resnet18

    seen = {}

    def fake(url, **kwargs):
        seen.update(kwargs, url=url)
        return resnet18().state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fake)
    backbone = load_backbone("resnet18")
    assert (backbone.weights, backbone.dim) == ("IMAGENET1K_V1", 512)
    assert (backbone.preprocessing.resize_px, backbone.preprocessing.interpolation) == (256, "bilinear")
    assert (seen["check_hash"], seen["weights_only"]) == (True, True)


def test_another_image_size_may_give_another_number_of_features(tmp_path):
    backbone = load_backbone(write_card(tmp_path))
    assert (backbone.dim, with_preprocessing(backbone, Preprocessing(64, 64)).dim) == (8, 32)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mnasnet0_5", "shufflenet_v2_x0_5", "resnet18"])
def test_random_weights_keep_the_scale_of_the_input(name):
    """Also through depthwise convolutions, so that the untrained control says something."""
    backbone = load_backbone(name, weights="random")
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert 1e-3 < float(backbone.features(x).abs().max()) < 1e3


def test_networks_that_ask_for_the_version_of_a_layer(tmp_path):
    from torchvision.models import mnasnet0_5

    torch.save(mnasnet0_5().state_dict(), tmp_path / "m.pth")
    assert load_backbone("mnasnet0_5", weights=str(tmp_path / "m.pth")).dim == 1280


def test_official_densenets_have_older_names(monkeypatch):
    import re

    from torchvision.models import densenet121

    def fake(url, **kwargs):
        state = densenet121().state_dict()
        return {re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", key): value for key, value in state.items()}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fake)
    assert load_backbone("densenet121").dim == 1024


def test_a_weights_file_that_is_absent():
    with pytest.raises(ModelError, match="absent.pth: these weights cannot be read: .*No such file"):
        load_backbone("resnet18", weights="absent.pth")


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("cifar_resnet", "{ depth = 196604 }", "depth: at most 65,536 is possible"),
        ("cifar_resnet", "{ depth = 32768 }", "depth 6k \\+ 2 from 8 to 1202, not 32768"),
        ("cifar_resnet", "{ width = 60000 }", "it would have .* weights, at most 1,073,741,824 are possible"),
        ("conv4", "{ width = -1 }", "conv4 cannot be built"),
        ("mobilenet_v1", "{ width_mult = 1e6 }", "it would have .* weights"),
        ("torchvision:resnet18", "{ num_classes = 1000000000 }", "num_classes: at most 65,536 is possible"),
        ("torchvision:resnet50", "{ width_per_group = 60000 }", "it would have .* weights"),
    ],
)
def test_a_card_asks_for_no_network_that_no_memory_holds(tmp_path, network, arguments, message):
    card = write_card(tmp_path, network=f'"{network}"', arguments=arguments)
    with pytest.raises(ModelError, match=message):
        load_backbone(card, weights="random")


def test_networks_that_cannot_be_built_without_memory_are_built_all_the_same(tmp_path):
    card = write_card(tmp_path, network='"torchvision:regnet_x_400mf"', arguments="{ num_classes = 3 }")
    assert load_backbone(card, weights="random").dim == 400


def test_a_number_that_no_float_holds_is_an_error_of_the_card(tmp_path):
    with pytest.raises(ModelError, match="norm_eps: a whole number of 1,329 bits is too large"):
        load_backbone(write_card(tmp_path, norm_eps=str(10**400)), weights="random")


def test_weights_after_an_at_sign(monkeypatch):
    from torchvision.models import resnet18

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **more: resnet18().state_dict())
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        plain = load_backbone("resnet18", weights="IMAGENET1K_V1")
    for ways in ("resnet18@IMAGENET1K_V1", "torchvision:resnet18@IMAGENET1K_V1"):
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            found = load_backbone(ways)
        assert (found.name, found.weights, found.fingerprint) == (plain.name, plain.weights, plain.fingerprint)
    assert load_backbone("resnet18@random").fingerprint == load_backbone("resnet18", weights="random").fingerprint
    assert load_backbone("resnet18@random", weights="random").weights == "random"
    with pytest.raises(UsageError, match="resnet18@random: asks for the weights random, --weights for w.pth; give one"):
        load_backbone("resnet18@random", weights="w.pth")
    with pytest.raises(UsageError, match=r"unknown weights of resnet18 'IMAGENET1K_V9'"):
        load_backbone("torchvision:resnet18@IMAGENET1K_V9")


def test_an_at_sign_of_a_path_is_no_name_of_weights(tmp_path):
    (tmp_path / "me@home").mkdir()
    card = write_card(tmp_path / "me@home")
    assert load_backbone(card).weights == "weights.pth"
    assert load_backbone(f"{card}@random").weights == "random"


def test_an_unknown_network_of_a_library_is_told_from_those():
    with pytest.raises(UsageError, match=r"unknown torchvision network 'resnet05' \(did you mean 'resnet50'\?\)"):
        load_backbone("torchvision:resnet05")


def test_a_file_is_named_by_its_own_option():
    with pytest.raises(UsageError, match="name a file with --weights"):
        load_backbone("torchvision:resnet18@runs/x.pth")


def test_one_layer_of_another_shape_is_named_wherever_it_lies(tmp_path):
    state = {f"backbone.{key}": value for key, value in resnet18().state_dict().items()}
    torch.save({"state_dict": {**state, "backbone.conv1.weight": torch.zeros(64, 3, 3, 3)}}, tmp_path / "x.pth")
    differs = r"most of it would fit, but backbone.conv1.weight is \(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)$"
    with pytest.raises(ModelError, match=differs):
        load_backbone("resnet18", weights=tmp_path / "x.pth")
