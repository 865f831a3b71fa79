"""Shapes in signatures are checked while tests run; caches go to a folder of the test session."""

import http.server
import os
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook
from PIL import Image

with install_import_hook("fewshot_bn", "beartype.beartype"):
    import fewshot_bn.suite  # noqa: F401 - imports every module of the package

import torch
from torch import nn

from fewshot_bn.backbones import Backbone, freeze
from fewshot_bn.pixels import Preprocessing

ROOT = Path(__file__).parent.parent
CARDS = Path(__file__).parent / "cards"
SHARED = Path(os.environ.get("FEWSHOT_BN_SHARED") or ROOT.parent / "shared")

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the real images and weights are not in {SHARED}"
)


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


class QuietServer(http.server.ThreadingHTTPServer):
    """A server on this machine; clients that go away in the middle are part of the tests."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class SmallNet(nn.Module):
    """A network with every kind of layer that matters to the engine: stem, shortcut, in-place ReLU, BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc, self.bn3 = nn.Linear(8, 6), nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = nn.functional.relu(x + self.bn2(self.conv2(x)), inplace=True)
        return self.bn3(self.fc(x.mean((2, 3))))


def small_backbone(seed: int = 0, dtype: torch.dtype = torch.float32) -> Backbone:
    """A `SmallNet` with random weights and random BatchNorm statistics, for images of 8 px."""
    generator = torch.Generator().manual_seed(seed)
    network = SmallNet()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
        if name.endswith("running_var") or (name.startswith("bn") and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    preprocessing = Preprocessing(8, 8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    backbone = freeze(network, "small", "", preprocessing, architecture="SmallNet")
    backbone.module.to(dtype)
    return backbone


@pytest.fixture
def backbone() -> Backbone:
    return small_backbone()
