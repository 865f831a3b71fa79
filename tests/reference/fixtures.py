"""Fixtures of the whole suite: a cache, a small image folder, a small network, and what is made of them."""

import secrets
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.networks import small_backbone

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.splits import Split
from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.evaluation.many_shot import feed
from fewshot_bn.files.atomic import sha256_of
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.source import Source
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.rng import torch_state

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests of a process that are not about caches."""
    return tmp_path_factory.mktemp("warm-cache")


@pytest.fixture(autouse=True)
def no_folders_of_the_user(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(warm_cache))
    monkeypatch.delenv("FEWSHOT_BN_DATA", raising=False)


@pytest.fixture
def own_cache(
    no_folders_of_the_user: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A cold cache, for a test that is about caches, or that changes images."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(folder))
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


@pytest.fixture(scope="session")
def drawn_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 12, 9 and 8 images; the class decides the colour, so that probes can learn it."""
    rng = np.random.default_rng(np.random.Philox(20))
    root = tmp_path_factory.mktemp("drawn") / "shapes"
    for k, (name, n) in enumerate([("a, b", 12), ("c", 9), ("d e", 8)]):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 120, (20, 24, 3), dtype=np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def image_folder(drawn_images: Path, tmp_path: Path) -> Path:
    """A copy of the drawn images for a test to change; their times are kept, so that the warm cache knows them."""
    return Path(shutil.copytree(drawn_images, tmp_path / "shapes"))


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


@pytest.fixture
def split():
    rows = np.random.default_rng(np.random.Philox(4)).permutation(29)
    return Split(*(np.sort(part) for part in np.split(rows, [15, 21])), official=False)


@pytest.fixture
def exact(monkeypatch):
    """Images in double precision."""
    monkeypatch.setattr(feed, "normalise", lambda *arguments: normalise(*arguments).double())


@pytest.fixture
def kept_at_once(monkeypatch):
    """The state of a training is written after every step."""
    monkeypatch.setattr("fewshot_bn.evaluation.many_shot.checkpoint.WRITE_S", 0.0)
    monkeypatch.setattr("fewshot_bn.evaluation.many_shot.checkpoint.WRITE_SHARE", 0)
