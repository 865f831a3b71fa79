"""A linear head trained by gradient steps on a network that stays as it is: linear probing by SGD."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.training import Group
from fewshot_bn.adapters.tuning.tuner import Trained, Tuning
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import UsageError


class Nothing:
    """What is trained of a network that stays as it is."""

    values: Sequence[Tensor] = ()

    def apply(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class HeadAlone(Tuning):
    """Training of the head alone, as the settings say."""

    def __post_init__(self) -> None:
        Tuning.__post_init__(self)
        if self.statistics != "frozen":
            raise UsageError(f"statistics={self.statistics}, but the network stays as it is: take statistics=frozen")

    def choose(self, backbone: Backbone) -> list[str]:
        del backbone
        return []

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        del names
        return EpisodicNetwork(backbone, {}, n_episodes, low_precision=self.precision == "bfloat16")

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Nothing:
        del network, seeds
        return Nothing()

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        return [Group(trained.values, 0.0), Group(head.values, self.lr_head)]
