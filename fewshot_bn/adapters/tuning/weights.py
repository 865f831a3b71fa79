"""Fine-tuning of a network's own weights, all or some, with a linear head, on the support set of each episode.

An episode has a copy of the weights that are trained, so episodes are tuned one after another.

Sources: full fine-tuning as published for these datasets: Guo et al. 2020, arXiv:1912.07200; linear probing first, then
fine-tuning (LP-FT): Kumar et al. 2022, arXiv:2202.10054; biases alone (BitFit): Ben Zaken et al. 2022,
arXiv:2106.10199.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.multiples import multiples
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import affine_layers, check_batch_norms
from fewshot_bn.adapters.tuning.scopes import CHOICES, choose_parameters
from fewshot_bn.adapters.tuning.settings import (
    TuningSettings,
    check_dampening,
    check_rates,
    check_shares,
    check_units,
)
from fewshot_bn.adapters.tuning.training import Group, Inertia, held_bytes
from fewshot_bn.adapters.tuning.tuner import Trained, Tuning
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

Units = Literal["absolute", "relative", "features"]
AS_BODY = -1.0


class Weights:
    """The parameters that `network` owns; `values` are to be trained."""

    def __init__(self, network: EpisodicNetwork, units: Units) -> None:
        self._of_norms = [
            (layer, attribute, network.own[f"{name}.{parameter}"])
            for name, layer in network.layers.items()
            for attribute, parameter in (("gamma", "weight"), ("beta", "bias"))
            if f"{name}.{parameter}" in network.own
        ]
        with torch.no_grad():
            for layer, attribute, value in self._of_norms:
                value.copy_(getattr(layer, attribute)[0])  # converted, perhaps
        self._multiples = [] if units == "absolute" else multiples(network)
        self.values: Sequence[Tensor] = [each.value for each in self._multiples] or list(network.own.values())

    def apply(self) -> None:
        """Let the network have the present values; in absolute units, its layers but those of norms have them."""
        for multiple in self._multiples:
            multiple.apply()
        for layer, attribute, value in self._of_norms:
            setattr(layer, attribute, value[None])


@dataclass(frozen=True, slots=True)
class FineTuning(Tuning):
    """Fine-tuning of the parameters in a scope, as the settings say."""

    one_by_one: ClassVar[bool] = True
    small: ClassVar[float] = 0.02  # 1 is as much as the weights themselves, over the root of their number
    scope: str = setting("all", f"which parameters: {CHOICES}, such as layer4.*", source="Ben Zaken et al. 2022 (bias)")
    units: Units = setting(
        "absolute",
        "of what is trained: absolute; relative to the size of each filter and divided by the root of the number of "
        "trained values; or features, the same, and lr_body is how far the first step moves the features, of unit "
        "length, so that one rate suits all networks",
        source="study",
    )
    lr_body: float = setting(0.001, "learning rate of the network, in these units", source="study")
    momentum_head: float = setting(AS_BODY, "momentum for the head; -1: that of the network", source="CD-FSL")
    dampening_head: float = setting(AS_BODY, "dampening for the head; -1: that of the network", source="CD-FSL")
    weight_decay_head: float = setting(AS_BODY, "weight decay of the head; -1: that of the network", source="CD-FSL")

    def __post_init__(self) -> None:
        check_rates(lr_body=self.lr_body)
        TuningSettings.__post_init__(self)
        of_head = self.of_head
        try:
            check_shares(momentum_head=of_head.momentum, dampening_head=of_head.dampening)
            check_rates(weight_decay_head=of_head.weight_decay)
            check_dampening(self.optimiser, of_head.momentum, of_head.dampening)
            self.check_nesterov(of_head.momentum, of_head.dampening)
        except UsageError as problem:
            raise UsageError(f"{problem}; or -1 for that of the network") from problem
        check_units(self.units, self.head)

    @property
    def rates_of_features(self) -> bool:
        return self.units == "features"

    @property
    def of_head(self) -> Inertia:
        """Momentum, dampening and weight decay of the head."""

        def own(value: float, of_body: float) -> float:
            return of_body if value == AS_BODY else value

        return Inertia(
            own(self.momentum_head, self.momentum),
            own(self.dampening_head, self.dampening),
            own(self.weight_decay_head, self.weight_decay),
        )

    def choose(self, backbone: Backbone) -> list[str]:
        return choose_parameters(backbone, self.scope)

    def check_names(self, backbone: Backbone, names: Sequence[str], n_support: int, n_query: int) -> None:
        self.check_batches(backbone, self._norms(backbone, names), n_support, n_query)

    def _norms(self, backbone: Backbone, names: Sequence[str]) -> list[str]:
        """The BatchNorm layers whose statistics follow the policy: those of which something is trained."""
        if self.statistics == "frozen":
            return []  # they stay as they are, in eval mode
        layers = affine_layers(backbone.module, "batch")
        chosen = {name: layer for name, layer in layers.items() if {f"{name}.weight", f"{name}.bias"} & {*names}}
        check_batch_norms(backbone, chosen)
        if layers and not chosen:
            raise UsageError(
                f"{backbone.name}: statistics={self.statistics}, but scope={self.scope} has nothing of a BatchNorm "
                "layer; widen the scope, or take statistics=frozen"
            )
        return list(chosen)

    def bytes_held(self, backbone: Backbone) -> int:
        largest = max(
            sum(stage.backbone.module.get_parameter(name).nbytes for name in stage.names)
            for stage in self.stages(backbone)
        )
        in_their_place = 0 if self.units == "absolute" else largest  # multiples.py
        return held_bytes(self.optimiser, largest) + in_their_place

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        layers = dict.fromkeys(self._norms(backbone, names), episodic)
        return EpisodicNetwork(backbone, layers, n_episodes, own=names, low_precision=self.precision == "bfloat16")

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Weights:
        del seeds
        return Weights(network, self.units)

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        return [Group(trained.values, self.lr_body), Group(head.values, self.lr_head, self.of_head)]
