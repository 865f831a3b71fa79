"""Fine-tuning of a network's own weights, all or some, with a linear head, on the support set of each episode.

An episode has a copy of the weights that are trained, so episodes are tuned one after another.

Sources: full fine-tuning as published for these datasets: Guo et al. 2020, arXiv:1912.07200; linear probing first, then
fine-tuning (LP-FT): Kumar et al. 2022, arXiv:2202.10054; biases alone (BitFit): Ben Zaken et al. 2022,
arXiv:2106.10199. A rate for each tensor in proportion to its size: You et al. 2017, arXiv:1708.03888 (LARS).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fewshot_bn.adapters.tuning.affines import Units
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.heads import Head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import affine_layers, check_batch_norms
from fewshot_bn.adapters.tuning.scopes import CHOICES, choose_parameters
from fewshot_bn.adapters.tuning.settings import TuningSettings, check_dampening, check_rates, check_shares
from fewshot_bn.adapters.tuning.training import Group, Inertia, held_bytes
from fewshot_bn.adapters.tuning.tuner import Trained, Tuning
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

AS_BODY = -1.0


class Weights:
    """The parameters that `network` owns; `values` are to be trained."""

    def __init__(self, network: EpisodicNetwork) -> None:
        self.values: Sequence[Tensor] = list(network.own.values())
        self._of_norms = [
            (layer, attribute, network.own[f"{name}.{parameter}"])
            for name, layer in network.layers.items()
            for attribute, parameter in (("gamma", "weight"), ("beta", "bias"))
            if f"{name}.{parameter}" in network.own
        ]
        with torch.no_grad():
            for layer, attribute, value in self._of_norms:
                value.copy_(getattr(layer, attribute)[0])  # converted, perhaps

    def apply(self) -> None:
        """Let the network's norm layers have the present values; the other layers have them already."""
        for layer, attribute, value in self._of_norms:
            setattr(layer, attribute, value[None])


def _by_size(values: Sequence[Tensor], lr: float) -> list[Group]:
    """Each tensor with a rate in proportion to its root mean square (1 where it is all 0), for so many values."""
    root = math.sqrt(sum(value.numel() for value in values))
    sizes = (float(value.detach().square().mean().sqrt()) or 1.0 for value in values)
    return [Group([value], lr * size / root) for value, size in zip(values, sizes, strict=True)]


@dataclass(frozen=True, slots=True)
class FineTuning(Tuning):
    """Fine-tuning of the parameters in a scope, as the settings say."""

    one_by_one: ClassVar[bool] = True
    scope: str = setting("all", f"which parameters: {CHOICES}, such as layer4.*", source="Ben Zaken et al. 2022 (bias)")
    units: Units = setting(
        "absolute",
        "of lr_body: absolute, or relative to the size of each tensor and divided by the root of the number of trained "
        "values, so that one rate suits small and large networks",
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
        except UsageError as problem:
            raise UsageError(f"{problem}; or -1 for that of the network") from problem

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
        sizes = (
            sum(stage.backbone.module.get_parameter(name).nbytes for name in stage.names)
            for stage in self.stages(backbone)
        )
        return held_bytes(self.optimiser, max(sizes))

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        layers = dict.fromkeys(self._norms(backbone, names), episodic)
        return EpisodicNetwork(backbone, layers, n_episodes, own=names, low_precision=self.precision == "bfloat16")

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Weights:
        del seeds
        return Weights(network)

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        relative = self.units == "relative"
        body = _by_size(trained.values, self.lr_body) if relative else [Group(trained.values, self.lr_body)]
        return [*body, Group(head.values, self.lr_head, self.of_head)]
