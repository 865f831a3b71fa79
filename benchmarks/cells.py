"""The cells of a study: a dataset under a backbone with a number of shots, and what candidates do on its episodes.

A candidate is a mode and its settings, as in `bn steps=20 readout=head`. `start` stands for the recipe that the search
for the default of `bn` began with, whatever became of it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from fewshot_bn.adapters import Adapter, make_adapter
from fewshot_bn.backbones import load_backbone
from fewshot_bn.datasets import card_of, open_dataset
from fewshot_bn.episodes import Episodes, EpisodeShape, sample
from fewshot_bn.evaluation import Source
from fewshot_bn.features import Features
from fewshot_bn.images import Images
from fewshot_bn.paths import cache_root

CARDS = Path(__file__).parent.parent / "tests" / "cards"
WEIGHTS = {
    "mobilenet_v2_035": "mobilenet_v2_035_imagenet_features.pth",
    "mobilenet_v1_025": "mobilenetV1X0.25_pretrain.original.pth.tar",
    "resnet20": "resnet20-12fca82f.th",
}
N_WAY, N_QUERY = 5, 15
START = (
    "bn-plain scaling=l2 head=lr C=10 steps=10 optimiser=adam units=relative lr_norm=1 lr_head=0 readout=lr "
    "test_augment=flip,centre"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Episodes that all candidates are tried on: 5-way, 15 queries."""

    dataset: str
    backbone: str
    n_support: int

    def source(self, data: Path, weights: Path, device: torch.device) -> Source:
        """The dataset is a shipped card with its files under `data`, or a folder there."""
        shipped = card_of(self.dataset) is not None
        dataset = open_dataset(self.dataset, root=data) if shipped else open_dataset(str(data / self.dataset))
        card = str(CARDS / f"{self.backbone}.toml")
        backbone = load_backbone(card, weights=str(weights / WEIGHTS[self.backbone]), device=device)
        images = Images(dataset, backbone.preprocessing)
        features = Features(images, backbone, device=device, cache=cache_root())
        for _ in features.compute(np.arange(len(dataset))):
            pass
        return Source(images, backbone, features, device)

    def episodes(self, source: Source, seed: int, stop: int) -> Episodes:
        """Episodes 0 to `stop`."""
        shape = EpisodeShape(N_WAY, self.n_support, N_QUERY)
        return sample(source.images.dataset.class_sizes, shape, seed=seed, n_episodes=stop)


@cache
def adapter_of(candidate: str) -> Adapter:
    mode, *settings = candidate.replace("start", START, 1).split()
    return make_adapter(mode, dict(setting.split("=") for setting in settings))
