"""Low-rank adaptation: products of two small matrices beside frozen linear layers and convolutions, and a head.

Sources: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv:2106.09685, for linear layers; a
convolution is taken as the matrix of its patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from fewshot_bn.adapters.contract import check_positive
from fewshot_bn.adapters.tuning.added_layers import AddedLayer
from fewshot_bn.adapters.tuning.additions import AddingTuner, Additions
from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.low_rank_layers import low_rank, matrices
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.settings import check_rates
from fewshot_bn.adapters.tuning.training import Group
from fewshot_bn.adapters.tuning.tuner import Trained
from fewshot_bn.adapters.tuning.weight_layers import SCOPES, choose_matrices
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting


@dataclass(frozen=True, slots=True)
class LowRank(AddingTuner):
    """Low-rank adaptation, as the settings say."""

    scope: str = setting(
        "all", f"to which linear layers, attention, and convolutions without groups a product is added: {SCOPES}"
    )
    rank: int = setting(2, "of the products; a smaller layer has its full rank", source="Hu et al. 2021")
    alpha: float = setting(4.0, "the products count alpha / rank times", source="Hu et al. 2021")
    lr_factors: float = setting(3e-3, "learning rate of the products")

    def __post_init__(self) -> None:
        check_positive(rank=self.rank, alpha=self.alpha)
        check_rates(lr_factors=self.lr_factors)
        AddingTuner.__post_init__(self)

    def choose(self, backbone: Backbone) -> list[str]:
        names = choose_matrices(backbone, self.scope)
        layers = map(backbone.module.get_submodule, names)
        largest = max(matrix.rank(self.rank) for layer in layers for matrix in matrices(layer))
        if largest < self.rank:
            raise UsageError(
                f"{backbone.name}: rank is {self.rank}, but the layers of scope={self.scope} have at most {largest}; "
                "take a smaller rank"
            )
        return names

    def added(self, layer: nn.Module, n_episodes: int) -> AddedLayer:
        return low_rank(layer, n_episodes, rank=self.rank, alpha=self.alpha)

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Additions:
        return Additions(network, seeds)

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        return [Group(trained.values, self.lr_factors), Group(head.values, self.lr_head)]
