"""Shipped cards: each builds its network as it says, and reads what its publisher has laid out."""

import csv
import json
import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from reference.layouts import FORMS, LAYOUTS, write
from reference.layouts.jax import byol_pickle
from reference.layouts.resnets import swav
from reference.layouts.toolboxes import mmselfsup
from reference.places import SHARED

from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.build import build_network, count_norms
from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.errors import ModelError
from fewshot_bn.files.cards import read_card
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.rng import torch_generator

TABLE = SHARED / "published/ssl_transfer_cdfsl.csv"
QUICK = {"byol", "mmselfsup-resnet50", "moco-v2", "rich-2x", "seer-regnet-y-32gf", "simclr-v2", "swav"}
SLOW_TO_BUILD = {"rich-4x", "seer-regnet-y-32gf", "seer-regnet-y-64gf", "seer-regnet-y-128gf", "vicreg-200-w2"}
CARDS = [name for name in shipped_models() if name != DEFAULT_MODEL]
BUILDS = [pytest.param(name, marks=[pytest.mark.full] * (name in SLOW_TO_BUILD)) for name in CARDS]


def card_of(name):
    return read_card(shipped_models()[name], ModelCard, ModelError)


def on_meta(card):
    """The network of a card without memory for its weights, and the shape of what it makes of two images."""
    return _on_meta(card.network, json.dumps(card.arguments), card.padding, card.preprocessing.crop_px)


@cache
def _on_meta(network, arguments, padding, side):
    arguments = json.loads(arguments)
    card = replace(card_of("supervised"), network=network, arguments=arguments, padding=padding, norms={})
    with torch.device("meta"):
        module = build_network(card).eval()
        return module, module(torch.zeros(2, 3, side, side)).shape


@pytest.mark.parametrize("name", BUILDS)
def test_a_card_builds_what_it_says(name):
    card = card_of(name)
    network, shape = on_meta(card)
    assert card.name == name
    assert (shape, count_norms(network)) == ((2, card.features), card.norms)


@pytest.mark.parametrize("name", shipped_models())
def test_a_card_says_where_its_facts_are_from(name):
    card = card_of(name)
    assert card.title
    assert card.licence
    assert card.source
    assert card.citation or card.recipe
    assert card.weights == card.weights.strip("/")
    assert card.url.startswith("https://") or card.get or card.recipe
    assert card.sha256 or card.md5 or "checksum" in card.note or card.get


@pytest.mark.parametrize("name", shipped_models())
def test_published_accuracies_are_numbers_of_some_source(name):
    for published in card_of(name).published:
        assert published.source
        assert published.protocol
        assert published.accuracy
        for of, accuracy in published.accuracy.items():
            assert re.fullmatch(r"\d{1,2}\.\d{1,2}( ± \d\.\d{2})?", accuracy), f"{of}: {accuracy}"


@pytest.mark.skipif(not TABLE.is_file(), reason="the published table is not here")
def test_the_published_table_of_few_shot_transfer_is_on_the_cards():
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    names = {"CropDiseases": "cropdisease"}
    for row in rows:
        of = f"{names.get(row['dataset'], row['dataset'].lower())} {row['shots']}-shot"
        found = card_of(row["model"].lower()).published[0].accuracy[of]
        assert [float(part) for part in found.split(" ± ")] == [
            float(row["acc_mean_pct"]),
            float(row["ci95_half_width_pct"]),
        ]
    assert len(rows) == 168


FILES = [(name, "", layout) for name, layout in LAYOUTS.items()] + [(*of, layout) for of, layout in FORMS.items()]
FILES += [(name, "mmselfsup", mmselfsup) for name in CARDS if "mmselfsup" in card_of(name).forms]
IDS = ["-".join(filter(None, file[:2])) for file in FILES]


@pytest.mark.parametrize(
    ("name", "form", "layout"),
    [pytest.param(*file, marks=[pytest.mark.full] * (file[0] in SLOW_TO_BUILD)) for file in FILES],
    ids=IDS,
)
def test_the_rules_of_a_card_make_the_keys_and_shapes_of_its_network(name, form, layout):
    card = card_of(name)
    own = on_meta(card)[0].state_dict()
    rules = card.forms[form] if form else card.keys
    with torch.device("meta"):
        found = tensors_of(layout(own), rules, "here")
    needed = {key: value.shape for key, value in own.items() if not key.endswith("num_batches_tracked")}
    assert needed == {key: value.shape for key, value in found.items() if key in needed}
    assert set(found) <= set(own)


SMALL = {
    "torchvision:resnet50": ("bottleneck_resnet", {"channels": 4}, 128),
    "bottleneck_resnet": ("bottleneck_resnet", {"channels": 4, "blocks": [2, 1, 2, 1]}, 128),
    "parallel_resnets": ("parallel_resnets", {"members": 2, "channels": 4, "blocks": [1, 2, 1, 1]}, 256),
    "regnet_y": ("regnet_y", {"depth": 6, "w_0": 16, "w_a": 16.0, "w_m": 2.0, "group_width": 8}, 128),
}


def small_card(name, folder):
    """The card with a small network in place of its own, whose keys are of the same form; itself if there is none."""
    card = card_of(name)
    if card.network not in SMALL:
        return shipped_models()[name]
    network, arguments, features = SMALL[card.network]
    table = ", ".join(f"{key} = {value}" for key, value in arguments.items())
    left_out = ("network =", "arguments =", "features =", "norms =")
    lines = [line for line in shipped_models()[name].read_text().splitlines() if not line.startswith(left_out)]
    path = folder / "card.toml"
    path.write_text(f'network = "{network}"\narguments = {{ {table} }}\nfeatures = {features}\n' + "\n".join(lines))
    return path


def random_network(card):
    """The network of a card with random weights and statistics."""
    network = build_network(card).eval()
    generator = torch_generator(1, "a test")
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.mul_(1 + 0.2 * noise).add_(2 * noise if key.endswith("running_var") else 0.02 * (noise - 0.5))
    return network


def assert_reads(path, layout, folder):
    """That a network with random weights gives the same features once its publisher's file has been read."""
    card = read_card(path, ModelCard, ModelError)
    network, file = random_network(card), folder / card.weights
    write(layout(network.state_dict()), file)
    expected = freeze_in_place(network, "expected", "", card.preprocessing, architecture="")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = load_backbone(str(path), weights=str(file))
    assert 0 < expected.features(x).std() < 1e6
    torch.testing.assert_close(found.features(x), expected.features(x), rtol=0, atol=0)
    torch.testing.assert_close(found.module.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "form", "layout"),
    [pytest.param(*file, marks=[pytest.mark.full] * (file[0] not in QUICK or file[1] != "")) for file in FILES],
    ids=IDS,
)
def test_a_card_reads_what_its_publisher_lays_out(name, form, layout, tmp_path):
    assert_reads(small_card(name, tmp_path), layout, tmp_path)


@pytest.mark.parametrize("name", ["byol", "byol-same"])
def test_byol_is_read_from_the_pickle_that_it_is(name, tmp_path):
    assert_reads(small_card(name, tmp_path), byol_pickle, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", ["moco-v2", "simclr-v2", "byol-same"])
def test_a_card_reads_a_file_of_full_size(name, tmp_path):
    assert_reads(shipped_models()[name], LAYOUTS[name], tmp_path)


def test_byol_is_another_network_where_it_is_padded_as_it_was_trained(tmp_path):
    plain, same = (small_card(name, tmp_path).read_text() for name in ("byol", "byol-same"))
    assert [text.count('padding = "same"') for text in (plain, same)] == [0, 1]
    without = [line for line in same.splitlines() if not line.startswith("padding")]
    (tmp_path / "plain.toml").write_text("\n".join(without))
    (tmp_path / "same.toml").write_text(same)
    cards = [read_card(tmp_path / f"{name}.toml", ModelCard, ModelError) for name in ("plain", "same")]
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    a, b = (random_network(card)(x) for card in cards)
    assert not torch.allclose(a, b, rtol=1e-3)


def test_the_file_of_another_card_is_refused_with_its_first_keys(tmp_path):
    path = small_card("moco-v2", tmp_path)
    torch.save(swav(random_network(read_card(path, ModelCard, ModelError)).state_dict()), tmp_path / "swav.pth")
    match = r"no entry 'state_dict' that holds tensors; its entries are module\.conv1\.weight, .*prefix = \"module\.\""
    with pytest.raises(ModelError, match=match):
        load_backbone(str(path), weights=str(tmp_path / "swav.pth"))


def test_heads_that_a_card_does_not_name_are_no_part_of_its_file(tmp_path):
    path = small_card("barlow-twins", tmp_path)
    state = random_network(read_card(path, ModelCard, ModelError)).state_dict()
    torch.save({**state, "fc.weight": torch.ones(2)}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match=r"1 unexpected \(fc\.weight\)"):
        load_backbone(str(path), weights=str(tmp_path / "more.pth"))


def test_features_are_counted_at_the_size_of_the_card_alone(tmp_path):
    assert load_backbone("conv4-protonet-miniimagenet", weights="random", preprocessing="crop=64").dim == 1024
    wrong = shipped_models()["conv4-protonet-miniimagenet"].read_text().replace("features = 1600", "features = 1601")
    (tmp_path / "card.toml").write_text(wrong)
    with pytest.raises(ModelError, match="gives 1,600 features, its card says 1,601"):
        load_backbone(str(tmp_path / "card.toml"), weights="random")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('url = "file:///etc/passwd"', r"url is 'file:///etc/passwd'; one of http:// or https://"),
        ('url = "https://a b"', "without spaces is needed"),
    ],
)
def test_an_address_is_one_of_the_web(tmp_path, line, message):
    field = line.partition(" ")[0]
    text = re.sub(rf"^{field} = .*$", line, shipped_models()["moco-v2"].read_text(), flags=re.M)
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_model_card(tmp_path / "card.toml")
