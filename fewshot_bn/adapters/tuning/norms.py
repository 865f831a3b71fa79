"""Fine-tuning of norm layers: their scales and shifts and a linear head, trained on the support set of each episode.

Episodes are trained side by side and independently: their losses are summed, and no parameter is shared.

A scale and a shift for each channel are what FiLM layers are (Perez et al. 2018, arXiv:1709.07871): tuning both after
frozen convolutions is adaptation by FiLM layers that start as the norm layers are.

Sources: the affines as the trained part, and `bn23`: Yazdanpanah et al. 2022, "Revisiting learnable affines for batch
norm in few-shot transfer learning", CVPR; 100 epochs of batches of 4: Guo et al. 2020, arXiv:1912.07200.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot_bn.adapters.tuning.affines import Affines, Units, Which
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import choose_layers
from fewshot_bn.adapters.tuning.settings import TuningSettings, check_rates
from fewshot_bn.adapters.tuning.training import Group
from fewshot_bn.adapters.tuning.tuner import Trained, Tuning
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.norms import NORMS
from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.settings import setting


@dataclass(frozen=True, slots=True)
class NormTuning(Tuning):
    """Fine-tuning of the norm layers in a scope, as the settings say."""

    norm: str = setting("batch", "kind of norm layers: batch, group, layer or rms", choices=NORMS.keys)
    scope: str = setting(
        "all",
        "which norm layers: all; bn23, the stem and bn2 and bn3 of every block; last, the last stage; or patterns of "
        "names with commas between them, such as layer4.*,bn1",
        source="Yazdanpanah et al. 2022 (bn23)",
    )
    affines: Which = setting("both", "what is trained of a norm layer: scale, shift or both", source="study")
    units: Units = setting(
        "absolute",
        "of what is trained: absolute, or relative to the pretrained scales and divided by the root of the number of "
        "trained values, so that one rate suits small and large networks",
        source="study",
    )
    lr_norm: float = setting(0.01, "learning rate of the norm layers, in these units", source="study")

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown("value of norm", self.norm, NORMS)
        check_rates(lr_norm=self.lr_norm)
        TuningSettings.__post_init__(self)
        norm = NORMS[self.norm]
        if self.affines == "shift" and not norm.has_shift:
            raise UsageError(f"affines=shift: {norm.title} layers have no shift; take affines=scale")
        if self.statistics != "frozen" and not norm.keeps_statistics:
            raise UsageError(f"statistics={self.statistics} is a policy of BatchNorm; norm={self.norm} keeps none")

    def choose(self, backbone: Backbone) -> list[str]:
        return choose_layers(backbone, self.norm, self.scope)

    def check_names(self, backbone: Backbone, names: Sequence[str], n_support: int, n_query: int) -> None:
        self.check_batches(backbone, names, n_support, n_query)

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        layers = dict.fromkeys(names, episodic)
        return EpisodicNetwork(backbone, layers, n_episodes, low_precision=self.precision == "bfloat16")

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Affines:
        del seeds
        return Affines(network, self.affines, self.units)

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        return [Group(trained.values, self.lr_norm), Group(head.values, self.lr_head)]
