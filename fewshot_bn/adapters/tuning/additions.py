"""Tuners that add something small to frozen layers: what they share.

Statistics of BatchNorm follow the policy in all its layers; scales and shifts stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewshot_bn import rng
from fewshot_bn.adapters.contract import check_positive
from fewshot_bn.adapters.tuning.added_layers import AddedLayer
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import affine_layers, check_batch_norms
from fewshot_bn.adapters.tuning.settings import COSINE_SCALE, TuningSettings, check_units
from fewshot_bn.adapters.tuning.training import held_bytes
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting


class Additions:
    """What the layers of `network` add, and perhaps a linear map of the features; `values` are to be trained."""

    def __init__(self, network: EpisodicNetwork, seeds: Sequence[int], *, map_of: int = 0) -> None:
        generators = [rng.torch_generator(seed, "adapters") for seed in seeds]
        self._network = network
        self._layers = [layer for layer in network.layers.values() if isinstance(layer, AddedLayer)]
        starts = [layer.started(generators) for layer in self._layers]
        self._counts = [len(values) for values in starts]
        self.added: Sequence[Tensor] = [value.requires_grad_() for values in starts for value in values]
        self.maps: Sequence[Tensor] = []
        if map_of:
            one = torch.eye(map_of, dtype=self.added[0].dtype, device=self.added[0].device)
            self.maps = [one.repeat(network.n_episodes, 1, 1).requires_grad_()]

    @property
    def values(self) -> Sequence[Tensor]:
        return [*self.added, *self.maps]

    def apply(self) -> None:
        """Let the network have the present values."""
        rest = iter(self.added)
        for layer, n in zip(self._layers, self._counts, strict=True):
            layer.values = [next(rest) for _ in range(n)]
        self._network.map = self.maps[0] if self.maps else None


@dataclass(frozen=True, slots=True)
class AddingTuner(Tuning):
    """A tuner but for what it adds to which layers."""

    cosine_scale: float = setting(COSINE_SCALE, "factor of the cosines of head=ncm", source="Li et al. 2022")
    units: Literal["absolute", "features"] = setting(
        "absolute",
        "of what is added: absolute; or features, and its first rate is how far the first step moves the features, of "
        "unit length, so that one rate suits all networks",
        source="study",
        later=True,
    )

    def __post_init__(self) -> None:
        check_positive(cosine_scale=self.cosine_scale)
        TuningSettings.__post_init__(self)
        check_units(self.units, self.head)

    @property
    def rates_of_features(self) -> bool:
        return self.units == "features"

    def added(self, layer: nn.Module, n_episodes: int) -> AddedLayer:
        """The layer that adds to `layer`."""
        raise NotImplementedError

    def check_names(self, backbone: Backbone, names: Sequence[str], n_support: int, n_query: int) -> None:
        del names  # of layers without statistics
        self.check_batches(backbone, self._norms(backbone), n_support, n_query)

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        layers = {**dict.fromkeys(self._norms(backbone), episodic), **dict.fromkeys(names, self.added)}
        return EpisodicNetwork(backbone, layers, n_episodes, low_precision=self.precision == "bfloat16")

    def bytes_held(self, backbone: Backbone) -> int:
        networks = (self.network(stage.backbone, stage.names, 1) for stage in self.stages(backbone))
        sizes = (sum(value.nbytes for value in self.trained(network, [0]).values) for network in networks)
        return held_bytes(self.optimiser, max(sizes))

    def _norms(self, backbone: Backbone) -> list[str]:
        """The BatchNorm layers whose statistics follow the policy."""
        if self.statistics == "frozen":
            return []
        layers = affine_layers(backbone.module, "batch")
        check_batch_norms(backbone, layers)
        if not layers:
            raise UsageError(
                f"{backbone.name}: statistics={self.statistics}, but it has no BatchNorm layer with scale and shift; "
                "take statistics=frozen"
            )
        return list(layers)
