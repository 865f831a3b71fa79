"""What guess drafts for a checkpoint is a card that reads it; what it cannot tell, it says."""

import shutil

import pytest
import torch
from reference.layouts import LAYOUTS as PUBLISHED
from reference.layouts import generic, write
from reference.places import CARDS, SHARED
from torch import nn
from torchvision.models import resnet18

from fewshot_bn.backbones.build import build_network
from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.cards.text import text_of
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.backbones.outline import outline
from fewshot_bn.backbones.recognition import guess as guessing
from fewshot_bn.backbones.recognition.contents import described, entries
from fewshot_bn.backbones.recognition.guess import draft, guess, heads
from fewshot_bn.backbones.recognition.known import better_cards, fitting_cards, pinned_by
from fewshot_bn.preprocessing import IMAGENET_MEAN, Preprocessing
from fewshot_bn.rng import torch_state


@pytest.fixture
def network():
    with torch_state(3, "a test"):
        return CifarResNet(depth=8, width=4)


OTHERS = ("wide_resnet50_2", "resnext50_32x4d", "densenet121", "vgg11_bn", "vit_b_32", "convnext_tiny")


def card_of(network):
    return ModelCard(network, network, network, Preprocessing(), "")


def drafted(content, folder):
    """The backbone that the draft of a card for `content` gives."""
    torch.save(content, folder / "x.pth")
    card = draft(guess(content), name="x", weights="x.pth", sha256="")
    (folder / "x.toml").write_text(text_of(card))
    assert read_model_card(folder / "x.toml") == card
    return load_backbone(str(folder / "x.toml"))


@pytest.fixture
def few(monkeypatch):
    """Only a few networks are known, for tests that try all of them."""
    monkeypatch.setattr(guessing, "FIRST", [])
    monkeypatch.setattr(guessing, "NETWORKS", ["conv4", "cifar_resnet"])
    monkeypatch.setattr(guessing, "ARGUMENTS", {"cifar_resnet": guessing.ARGUMENTS["cifar_resnet"]})
    monkeypatch.setattr(guessing, "_other_networks", lambda: [("torchvision:alexnet", {})])


@pytest.mark.parametrize("layout", [*generic.LAYOUTS, *generic.ORDERS])
def test_the_draft_reads_the_weights(layout, network, tmp_path, few):
    content = {**generic.LAYOUTS, **generic.ORDERS}[layout](network.state_dict())
    backbone = drafted(content, tmp_path)
    own = backbone.module.state_dict()
    for name, value in network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(own[name], value.half().float() if layout == "half precision" else value), name
    assert any("its card assumes: its images are the usual ones (32 px" in notice for notice in backbone.notices)


@pytest.mark.parametrize("layout", ["HWIO", pytest.param("in order", marks=pytest.mark.full)])
def test_what_fits_by_order_only_is_marked(layout, network, few):
    found = guess(generic.ORDERS[layout](network.state_dict()))
    assert {c.label for c in found.candidates} == {"cifar_resnet (depth = 8, width = 4)"}
    assert all(fit.rules.in_order for c in found.candidates for fit in c.fits)


@pytest.mark.parametrize(
    ("layout", "taken", "other"),
    [
        ("MoCo", "module.encoder_q.", "module.encoder_k."),
        ("momentum encoder", "encoder.", "momentum_encoder."),
        ("momentum backbone", "backbone.", "momentum_backbone."),
        ("student and teacher", "teacher", "student"),
        ("averaged", "state_dict_ema", "state_dict"),
    ],
)
def test_of_two_parts_the_one_to_evaluate_comes_first(layout, taken, other, network):
    (candidate,) = guess(generic.LAYOUTS[layout](network.state_dict())).candidates
    first, second = ((fit.rules.prefix, fit.rules.unwrap) for fit in candidate.fits)
    assert taken in first
    assert other in second


def test_a_head_tells_how_many_classes_there_are(network):
    content = generic.LAYOUTS["head"](network.state_dict())
    found = guess(content)
    card = draft(found, name="x", weights="", sha256="")
    assert (card.features, card.norms, card.arguments) == (16, {"batch": 7}, {"depth": 8, "width": 4})
    lines = list(heads(content, card, found.candidates[0].fits[0].left_out))
    assert lines == ["  linear.weight: a head on its 16 features, with 10 classes or outputs"]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("resnet101", marks=pytest.mark.full),
        *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS),
    ],
)
def test_networks_of_torchvision_are_found(name):
    own = outline(card_of(f"torchvision:{name}")).state_dict()
    state = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in own.items()}
    found = guess(generic.LAYOUTS["MoCo"](state))
    if found.cards:
        assert {fit.card.network for fit in found.cards} == {f"torchvision:{name}"}
    else:
        assert [c.label for c in found.candidates] == [f"torchvision:{name}"]


@pytest.mark.parametrize("name", ["moco-v2", *(pytest.param(n, marks=pytest.mark.full) for n in ("swav", "byol"))])
def test_known_layouts_are_found(name, tmp_path):
    card = read_model_card(shipped_models()[name])
    write(PUBLISHED[name](build_network(card).state_dict()), tmp_path / card.weights)
    assert name in [fit.card.name for fit in guess(read_checkpoint(tmp_path / card.weights)).cards]


def test_of_two_networks_with_the_same_names_the_one_of_torchvision_is_taken():
    state = outline(card_of("torchvision:resnet50")).state_dict()
    empty = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    found = guess({"net": generic.with_front(empty, "a.b.")})
    assert [candidate.label for candidate in found.candidates] == ["torchvision:resnet50"]


def test_the_card_of_the_same_checksum_comes_first_then_that_of_the_same_name(tmp_path):
    path = shipped_models()["fractal_resnet8"].with_suffix(".safetensors")
    shutil.copy(path, tmp_path / "mine.safetensors")
    assert pinned_by(tmp_path / "mine.safetensors") == ["fractal_resnet8"]
    assert pinned_by(shipped_models()["fractal_resnet8"]) == []
    content = read_checkpoint(path)
    cards = [fit.card for fit in fitting_cards(content)]
    assert "fractal_resnet8" in [card.name for card in cards]
    for card in cards:
        assert guess(content, [card.name]).cards[0].card == card
        assert guess(content, [], card.weights).cards[0].card.weights == card.weights


def test_the_draft_for_a_known_layout_has_the_images_of_that_card():
    content = read_checkpoint(shipped_models()["fractal_resnet8"].with_suffix(".safetensors"))
    card = draft(guess(content, ["fractal_resnet8"]), name="x", weights="", sha256="")
    assert card.preprocessing.mean == (0.5,) * 3 != IMAGENET_MEAN
    assert card.assumed.startswith("its images are those of fractal_resnet8, as which these weights are laid out")
    assert card.expected == {}


def nearest_to(state):
    found = guess(state)
    assert (found.cards, found.candidates) == ((), ())
    return found.nearest


def test_a_network_that_nobody_knows_gets_the_nearest(network, few):
    state = network.state_dict()
    (name, near), *_ = nearest_to({**state, "layer3.0.conv2.weight": torch.zeros(3, 3)})
    assert name == "cifar_resnet (depth = 8, width = 4)"
    assert near.share == pytest.approx(1 - 1 / len(state))
    assert near.differs == ("layer3.0.conv2.weight is (3, 3) instead of (16, 16, 3, 3)",)


def test_a_network_within_a_larger_one_is_not_taken_for_it(few):
    with torch_state(3, "a test"):
        state = resnet18().state_dict()
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)  # for small images, so that its first layers are those of another
    near = dict(nearest_to({"state_dict": generic.with_front(state, "backbone.")}))
    assert near["cifar_resnet (depth = 8, width = 64)"].share < 0.6
    assert (
        near["cifar_resnet (depth = 8, width = 64)"].differs[0] == "backbone.layer1.1.conv1.weight is more than it has"
    )


@pytest.mark.full
def test_the_nearest_of_all_networks():
    state = outline(card_of("torchvision:densenet169")).state_dict()
    empty = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    (name, near), *_ = nearest_to({**empty, "features.conv0.weight": torch.zeros(64, 3, 5, 5)})
    assert name == "torchvision:densenet169"
    assert near.share > 0.99


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, nn.Linear(3, 4).state_dict(), {"a": {3: torch.zeros(3)}}])
def test_what_is_no_network_gets_nothing(content):
    found = guess(content)
    assert (found.cards, found.candidates) == ((), ())


def test_the_end_of_a_message_names_known_cards_unless_their_values_are_no_weights(tmp_path):
    content = dict(read_checkpoint(shipped_models()["fractal_resnet8"].with_suffix(".safetensors")))
    assert "fractal_resnet8" in better_cards(content, tmp_path / "a b.pth")
    assert better_cards(content, tmp_path / "a b.pth").endswith(f" --weights '{tmp_path / 'a b.pth'}'")
    assert better_cards({**content, "conv1.weight": content["conv1.weight"] * float("nan")}, tmp_path) == ""
    assert better_cards({}, tmp_path) == ""


REAL = {
    "conv4_protonet_miniimagenet_5shot.pth": ("conv4", "conv4"),
    "mobilenetV1X0.25_pretrain.original.pth.tar": ("mobilenet_v1", "mobilenet_v1_025"),
    "mobilenet_v2_035_imagenet_features.pth": ("torchvision:mobilenet_v2", "mobilenet_v2_035"),
    "resnet20-12fca82f.th": ("cifar_resnet", "resnet20"),
}


@pytest.mark.parametrize("file", REAL)
def test_real_files(file, tmp_path):
    path = SHARED / "weights" / file
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    network, name = REAL[file]
    expected = read_model_card(CARDS / f"{name}.toml")
    card = draft(guess(read_checkpoint(path)), name="x", weights=str(path), sha256="")
    assert card.network == network
    made, own = build_network(card), build_network(expected)
    assert {k: v.shape for k, v in made.state_dict().items()} == {k: v.shape for k, v in own.state_dict().items()}
    (tmp_path / "x.toml").write_text(text_of(card))
    found = load_backbone(str(tmp_path / "x.toml")).module.state_dict()
    loaded = load_backbone(str(CARDS / f"{name}.toml"), weights=str(path)).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in loaded.items())


def test_a_resnet_of_transformers_is_told_where_its_keys_stand():
    content = {"resnet.embedder.embedder.convolution.weight": torch.zeros(2, 3, 7, 7)}
    (entry,) = entries(content)
    assert "  embedder: a network of transformers; docs/cards.md has [keys] for its ResNets" in list(described(entry))
