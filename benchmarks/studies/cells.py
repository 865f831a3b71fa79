"""The cells of a study: a dataset under a backbone with a number of shots, and what candidates do on its episodes.

A candidate is a mode and its settings, as in `bn steps=20 readout=head`. `start` stands for the recipe that the search
for the default of `bn` began with, whatever became of it.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from fewshot_bn.adapters import Adapter, Fit, make_adapter, with_settings
from fewshot_bn.adapters.norm_tuning.adapter import NormTuning
from fewshot_bn.adapters.norm_tuning.readout import read_out
from fewshot_bn.adapters.norm_tuning.views import fixed_view, fixed_views
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.datasets import card_of, open_dataset
from fewshot_bn.episodes import Episodes, EpisodeShape, sample
from fewshot_bn.files.paths import cache_root
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.source import Source

CARDS = Path(__file__).parents[2] / "tests" / "cards"
WEIGHTS = {
    "mobilenet_v2_035": "mobilenet_v2_035_imagenet_features.pth",
    "mobilenet_v1_025": "mobilenetV1X0.25_pretrain.original.pth.tar",
    "resnet20": "resnet20-12fca82f.th",
}
N_WAY, N_QUERY = 5, 15
START = NormTuning(
    scaling="l2",
    head="lr",
    C=10.0,
    steps=10,
    optimiser="adam",
    units="relative",
    lr_norm=1.0,
    lr_head=0.0,
    readout="lr",
    test_augment="flip,centre",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """Episodes that all candidates are tried on: 5-way, 15 queries."""

    dataset: str
    backbone: str
    n_support: int

    def source(self, data: Path, weights: Path, device: torch.device, views: str = "none") -> Source:
        """The dataset is a shipped card with its files under `data`, or a folder there.

        Features are those of every image and, one after another, of its fixed `views`.
        """
        shipped = card_of(self.dataset) is not None
        dataset = open_dataset(self.dataset, root=data) if shipped else open_dataset(str(data / self.dataset))
        card = str(CARDS / f"{self.backbone}.toml")
        backbone = load_backbone(card, weights=str(weights / WEIGHTS[self.backbone]), device=device)
        images = Images(dataset, backbone.preprocessing)
        features = Features(images, over_views(backbone, views), device=device, cache=cache_root())
        for _ in features.compute(np.arange(len(dataset))):
            pass
        return Source(images, backbone, features, device)

    def episodes(self, source: Source, seed: int, stop: int) -> Episodes:
        """Episodes 0 to `stop`."""
        shape = EpisodeShape(N_WAY, self.n_support, N_QUERY)
        return sample(source.images.dataset.class_sizes, shape, seed=seed, n_episodes=stop)


class _Views(nn.Module):
    def __init__(self, network: nn.Module, views: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.views = network, views

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b views*d"]:
        return torch.cat([self.network(fixed_view(x[None], view)[0]) for view in self.views], 1)


def over_views(backbone: Backbone, views: str) -> Backbone:
    """The backbone with the features of an image and of its fixed views side by side; without views, itself."""
    if views == "none":
        return backbone
    names = fixed_views(views)
    return replace(
        backbone,
        module=_Views(backbone.module, names),
        dim=len(names) * backbone.dim,
        fingerprint=f"{backbone.fingerprint} {names}",
        graph=None,
    )


@dataclass(frozen=True, slots=True)
class FrozenViews:
    """What norm tuning with steps=0 and a readout does, on features that were computed once: a probe over views."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    tuning: NormTuning

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        n = len(fixed_views(self.tuning.test_augment))
        views = zip(z_s.chunk(n, -1), z_q.chunk(n, -1), strict=True)
        logits, solved = read_out(self.tuning.readout, views, y_s)
        return Fit(logits, torch.zeros_like(solved, dtype=torch.int64), solved)


def is_frozen(adapter: Adapter) -> TypeGuard[NormTuning]:
    """Whether it is norm tuning that leaves the network as it is, and reads out by a probe."""
    return isinstance(adapter, NormTuning) and not (adapter.steps or adapter.epochs) and adapter.readout != "head"


@cache
def adapter_of(candidate: str) -> Adapter:
    mode, *texts = candidate.split()
    settings = dict(text.split("=") for text in texts)
    return with_settings(mode, START, settings) if mode == "start" else make_adapter(mode, settings)
