"""Residual adapters: a small convolution beside each large one, and a linear map of the features, trained by episode.

A convolution f becomes f(x) + α x, with a 1x1 convolution α of the same stride; features z become β z, with β the
identity at the start. All else is frozen. As published the class is that of the nearest mean by cosine, with class
means of the same support images in training and afterwards.

Source: Li, Liu and Bilen 2022, "Cross-domain few-shot learning with task-specific adapters", CVPR, arXiv:2107.00358
(TSA): matrices α beside the 3x3 convolutions of a ResNet-18 but the first, eq. 3 and 6; 40 steps of Adadelta with rates
of 0.5 (α) and 1 (β) where the domain is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from fewshot_bn.adapters.contract import check_not_negative
from fewshot_bn.adapters.tuning.added_layers import AddedLayer, ResidualAdapter
from fewshot_bn.adapters.tuning.additions import AddingTuner, Additions
from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.settings import check_rates
from fewshot_bn.adapters.tuning.training import Group
from fewshot_bn.adapters.tuning.tuner import Trained
from fewshot_bn.adapters.tuning.weight_layers import SCOPES, choose_convolutions
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.settings import setting


@dataclass(frozen=True, slots=True)
class ResidualAdapters(AddingTuner):
    """Residual adapters and a map of the features, as the settings say."""

    scope: str = setting(
        "all",
        f"which convolutions larger than 1x1 have an adapter: {SCOPES}",
        source="Li et al. 2022",
    )
    start: float = setting(1e-4, "times the identity, where each α starts", source="Li et al. 2022")
    beta: bool = setting(
        default=True,
        text="true also trains β, a linear map of the features, from the identity on",
        source="Li et al. 2022",
    )
    lr_alpha: float = setting(0.5, "learning rate of the adapters", source="Li et al. 2022")
    lr_beta: float = setting(1.0, "learning rate of β", source="Li et al. 2022")

    def __post_init__(self) -> None:
        check_not_negative(start=self.start)
        check_rates(lr_alpha=self.lr_alpha, lr_beta=self.lr_beta)
        AddingTuner.__post_init__(self)

    def choose(self, backbone: Backbone) -> list[str]:
        return choose_convolutions(backbone, self.scope)

    def added(self, layer: nn.Module, n_episodes: int) -> AddedLayer:
        return ResidualAdapter(cast("nn.Conv2d", layer), n_episodes, self.start)

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Additions:
        return Additions(network, seeds, map_of=network.dim if self.beta else 0)

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        values, n_maps = trained.values, int(self.beta)
        alphas, maps = values[: len(values) - n_maps], values[len(values) - n_maps :]
        return [Group(alphas, self.lr_alpha), Group(maps, self.lr_beta), Group(head.values, self.lr_head)]
