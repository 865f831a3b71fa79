"""Shapes in signatures are checked while tests run; caches go to a folder of the test session.

The scripts in benchmarks/ are a package here without the root of the repository on the path, so that what is tested is
the package that is installed.
"""

import importlib.util
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook
from PIL import Image

with install_import_hook("fewshot_bn", "beartype.beartype"):
    import fewshot_bn.cli.few_shot  # noqa: F401 - imports every module of the package

import torch
from reference.networks import small_backbone
from reference.places import ROOT

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.files.atomic import sha256_of
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.source import Source
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.rng import torch_state

CPU = torch.device("cpu")

spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "benchmarks" / "__init__.py")
sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(folder))
    monkeypatch.delenv("FEWSHOT_BN_DATA", raising=False)
    return folder


@pytest.fixture
def fresh_seed() -> int:
    """Another seed in every run of the tests."""
    seed = secrets.randbelow(2**31)
    sys.stdout.write(f"seed {seed}\n")  # shown with a failure
    return seed


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(np.random.Philox(20))


@pytest.fixture
def image_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three classes of 12, 9 and 8 images; the class decides the colour, so that probes can learn it."""
    root = tmp_path / "shapes"
    for k, (name, n) in enumerate([("a, b", 12), ("c", 9), ("d e", 8)]):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 120, (20, 24, 3), dtype=np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def backbone() -> Backbone:
    return small_backbone()


@pytest.fixture
def here(image_folder, tmp_path, monkeypatch):
    """A working directory with an image folder and a card of a small network of random weights."""
    with torch_state(0, "tiny"):
        network = CifarResNet(depth=8, width=4, stem_stride=2)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "card.toml").write_text(
        f'name = "tiny"\ntitle = "Tiny"\nnetwork = "cifar_resnet"\nweights = "weights.pth"\n'
        f'arguments = {{ depth = 8, width = 4, stem_stride = 2 }}\nsha256 = "{sha256_of(tmp_path / "weights.pth")}"\n'
        "preprocessing = { resize_px = 16, crop_px = 16 }\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def source(image_folder, backbone):
    images = Images(open_dataset(str(image_folder)), Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.5,) * 3))
    features = Features(images, backbone, device=CPU)
    list(features.compute(np.arange(29)))
    return Source(images, backbone, features, CPU)


@pytest.fixture
def episodes(source):
    return sample(source.images.dataset.class_sizes, EpisodeShape(3, 2, 4), seed=0, n_episodes=7)
