"""Cards of datasets and of backbones, with the data and weights that they name."""

import pytest
from fuzz.mutations import as_toml, damaged, hostile
from fuzz.trial import survive, tiers
from PIL import Image

from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.datasets import open_dataset

FACTS = {"title": "T", "licence": "none", "source": "nowhere", "citation": "nobody", "get": "draw them."}
FOLDER = {"name": "mine", **FACTS, "layout": "folder", "folders": ["tree", "."], "classes": {"a": 2, "b": 2}}
GROUPS = {"file": "groups.csv", "image": "image", "group": "who"}
TABLE = {"files": ["t*.csv"], "image": "file", "label": "kind", "split": "part", "groups": GROUPS}
CSV = {"name": "table", **FACTS, "layout": "csv", "folders": ["."], "n_classes": 2, "n_images": 4, "csv": TABLE}
FILE = {"url": "https://nowhere.invalid/x.zip", "file": "x.zip", "n_bytes": 5, "md5": "0" * 32, "unpack": "a"}
DIGITS = {
    "name": "some",
    **FACTS,
    "layout": "digits",
    "classes": dict.fromkeys("0123456789", 178),
    "downloads": [FILE],
    "max_value": 15,
}
PREPROCESSING = {"resize_px": 8, "crop_px": 8, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "keep_aspect": False}
KEYS = {"unwrap": "a.b", "drop": ["fc.*"], "rename": {"x.*.": "y.*."}, "may_lack": ["z"]}
MODEL = {
    "name": "m",
    "title": "T",
    "network": "cifar_resnet",
    "weights": "w.pth",
    "sha256": "0" * 64,
    "arguments": {"depth": 8, "width": 4, "stem_stride": 2},
    "norm_eps": 1e-5,
    "expected": {"x": "y"},
    "preprocessing": PREPROCESSING,
    "keys": KEYS,
}
MOBILE = {**MODEL, "network": "mobilenet_v1", "arguments": {"width_mult": 0.125, "negative_slope": 0.1}}
LIBRARY = {**MODEL, "network": "torchvision:shufflenet_v2_x0_5", "arguments": {"num_classes": 3}}


@pytest.fixture
def tree(tmp_path):
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (len(name), 9, 9)).save(tmp_path / "tree" / f"{name}.png")
    rows = [f"tree/{name}.png,{name[0]},train" for name in ("a/0", "a/1", "b/0", "b/1")]
    (tmp_path / "table.csv").write_text("\n".join(["file,kind,part", *rows]))
    (tmp_path / "groups.csv").write_text("image,who\ntree/a/0.png,x\n")
    (tmp_path / "secret.png").write_bytes((tmp_path / "tree" / "a" / "0.png").read_bytes())
    return tmp_path


def card_of(rng, card):
    return damaged(rng, as_toml(card)) if rng.random() < 0.3 else as_toml(hostile(rng, card))


@pytest.mark.parametrize(
    "card", [FOLDER, CSV, pytest.param(DIGITS, marks=pytest.mark.nightly)], ids=["folder", "csv", "digits"]
)
@tiers(20, 800)
def test_cards_of_datasets(tree, card, numbers):
    def trial(rng):
        (tree / "card.toml").write_bytes(card_of(rng, card))
        dataset = open_dataset(str(tree / "card.toml"), root=tree, faulty=True)
        assert len(dataset) == len(dataset.labels) >= 2
        assert all(dataset.read(row) for row in range(min(9, len(dataset))))

    (tree / "card.toml").write_bytes(as_toml(card))
    assert len(open_dataset(str(tree / "card.toml"), root=tree)) >= 4
    survive(trial, numbers)


@pytest.mark.parametrize(
    "card",
    [MODEL, MOBILE, pytest.param(LIBRARY, marks=pytest.mark.nightly)],
    ids=["resnet", "mobilenet", "library"],
)
@tiers(8, 400)
def test_cards_of_backbones(tmp_path, card, numbers):
    def trial(rng):
        (tmp_path / "card.toml").write_bytes(card_of(rng, card))
        backbone = load_backbone(str(tmp_path / "card.toml"), weights="random")
        assert 1 <= backbone.dim < 2**31

    (tmp_path / "card.toml").write_bytes(as_toml(card))
    assert load_backbone(str(tmp_path / "card.toml"), weights="random").name == "m"
    survive(trial, numbers)
