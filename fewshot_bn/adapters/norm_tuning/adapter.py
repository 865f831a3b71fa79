"""Fine-tuning of norm layers: their scales and shifts and a linear head, trained on the support set of each episode.

Episodes are trained side by side and independently: their losses are summed, and no parameter is shared. One step is a
gradient step on the mean cross-entropy of the whole support set, or of a random part of it. Queries are then classified
by the trained head, or by a probe that is solved anew on the features of the tuned network.

Statistics of BatchNorm, by policy:
    frozen        the pretrained running statistics, always
    batch         those of each training batch; the running statistics follow, and queries are normalised with them
    converted     first take the support set's, changing scale and shift so that the network stays the same; then batch
    transductive  as batch, but queries are normalised with the statistics of all queries of their episode, and for a
                  readout the support images with those of all support images

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; logits [e q way].
Sources: the affines as the trained part, and `bn23`: Yazdanpanah et al. 2022, "Revisiting learnable affines for batch
norm in few-shot transfer learning", CVPR; 100 epochs of batches of 4: Guo et al. 2020, arXiv:1912.07200.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, count_ways
from fewshot_bn.adapters.norm_tuning.affines import Affines
from fewshot_bn.adapters.norm_tuning.batches import Support
from fewshot_bn.adapters.norm_tuning.episodic_network import EpisodicNetwork, Stem
from fewshot_bn.adapters.norm_tuning.episodic_norm import Statistics
from fewshot_bn.adapters.norm_tuning.heads import Head, normal_head, probe_head, prototype_head, seen, zero_head
from fewshot_bn.adapters.norm_tuning.norm_layers import check_batch_statistics, choose_layers
from fewshot_bn.adapters.norm_tuning.readout import mean_probabilities, read_out
from fewshot_bn.adapters.norm_tuning.settings import TuningSettings
from fewshot_bn.adapters.norm_tuning.training import Group, Training
from fewshot_bn.adapters.norm_tuning.views import RANDOM_VIEWS, fixed_view, fixed_views, parse_views
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.backbones.backbone import Backbone

IMAGES_AT_ONCE = 25  # per episode at least; without gradients they take less memory than as many in a training step


@dataclass(frozen=True, slots=True)
class NormTuning(TuningSettings):
    """Fine-tuning as the settings say."""

    takes: ClassVar[Literal["images"]] = "images"

    @property
    def transductive(self) -> bool:
        """Whether a query has a say in how another is classified."""
        return self.statistics == "transductive"

    def check(self, backbone: Backbone, n_support: int, n_query: int) -> None:
        self._checked_layers(backbone, n_support, n_query)

    def _checked_layers(self, backbone: Backbone, n_support: int, n_query: int) -> list[str]:
        layers = choose_layers(backbone, self.norm, self.scope)
        if self.statistics != "frozen":
            size = min(self.batch_size or n_support, n_support)
            check_batch_statistics(backbone, layers, n_support % size or size, "a batch")
        if self.transductive:
            check_batch_statistics(backbone, layers, n_query, "a query set")
        return layers

    def bytes_per_image(self, backbone: Backbone) -> int:
        side, like = backbone.preprocessing.crop_px, next(backbone.module.parameters())
        layers = choose_layers(backbone, self.norm, self.scope)
        return self._network(backbone, layers, 1).kept_bytes(like.new_zeros(1, 2, 3, side, side))

    def images_together(self, n_support: int, n_query: int) -> int:
        whole = {"converted": n_support, "transductive": max(n_support, n_query)}.get(self.statistics, 1)
        return max(whole, min(self.batch_size or n_support, n_support))

    def n_steps(self, n_support: int) -> int:
        """Gradient steps for so many support images."""
        return self.steps or self.epochs * math.ceil(n_support / (self.batch_size or n_support))

    def __call__(
        self,
        backbone: Backbone,
        x_s: Float[Tensor, "e n 3 h w"],
        y_s: Int64[Tensor, "e n"],
        x_q: Float[Tensor, "e q 3 h w"],
        *,
        seeds: Sequence[int] | None = None,
        images_at_once: int | None = None,
    ) -> Fit:
        n_way, n = count_ways(y_s), y_s.shape[1]
        at_once = images_at_once or max(n, IMAGES_AT_ONCE)
        layers = self._checked_layers(backbone, n, x_q.shape[1])
        seeds = [0] * len(x_s) if seeds is None else seeds
        network = self._network(backbone, layers, len(x_s))
        network.try_cut(x_s[:, :1])
        stem, views = network.stem(x_s), parse_views(self.augment, RANDOM_VIEWS)
        support = Support(network, x_s, stem, y_s, seeds, self.batch_size, views, backbone.preprocessing)
        head = self._start_head(support, (n_way, backbone.dim), at_once)
        if self.statistics == "converted":
            network.convert(stem)
        affines = Affines(network, self.affines, self.units)
        statistics: Statistics = "running" if self.statistics == "frozen" else "batch, tracked"

        def forward(stem: Stem) -> Float[Tensor, "e b way"]:
            affines.apply()
            return head(seen(network.features(stem, statistics), self.scaling))

        groups = [Group(affines.values, self.lr_norm), Group([head.weight, head.bias], self.lr_head)]
        training = Training(self, forward, groups, network.running, images_at_once or n)
        with torch.enable_grad():
            steps = training.run(support, self.n_steps(n))
        with torch.no_grad():
            affines.apply()
            networks = [network]
            if self.average_frozen:
                networks.append(self._network(backbone, layers, len(x_s)))
                networks[1].try_cut(x_s[:, :1])
            logits, solved = self._classify(networks, head, support, x_q, images_at_once=at_once)
        return Fit(logits, steps, converged=solved & logits.isfinite().all((1, 2)))

    def _network(self, backbone: Backbone, layers: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        return EpisodicNetwork(backbone, layers, n_episodes, low_precision=self.precision == "bfloat16")

    @torch.no_grad()
    def _start_head(self, support: Support, size: tuple[int, int], images_at_once: int) -> Head:
        network = support.network
        if self.head == "zero":
            return zero_head(network.gamma, *size)
        if self.head == "normal":
            return normal_head(network.gamma, *size, std=self.head_std, seeds=support.seeds)
        z_s = seen(_in_parts(network, support.x, "none", images_at_once), self.scaling)
        if self.head == "proto":
            return prototype_head(z_s, support.y, size[0])
        probe = LogisticRegression(C=self.C, select="fixed", scaling="raw", tolerance=1e-10)
        return probe_head(z_s, support.y, probe)

    def _classify(
        self,
        networks: Sequence[EpisodicNetwork],
        head: Head,
        support: Support,
        x_q: Float[Tensor, "e q 3 h w"],
        *,
        images_at_once: int,
    ) -> tuple[Float[Tensor, "e q way"], Bool[Tensor, "e"]]:
        """The scores, and which episodes' readouts are solved."""

        def features(x: Float[Tensor, "e b 3 h w"]) -> Iterator[Float[Tensor, "e b d"]]:
            for network, view in itertools.product(networks, fixed_views(self.test_augment)):
                yield self._features(network, x, view, images_at_once)

        if self.readout == "head":
            scores = mean_probabilities([head(seen(z_q, self.scaling)) for z_q in features(x_q)])
            return scores, torch.ones(len(x_q), dtype=torch.bool, device=x_q.device)
        return read_out(self.readout, zip(features(support.x), features(x_q), strict=True), support.y)

    def _features(
        self, network: EpisodicNetwork, x: Float[Tensor, "e b 3 h w"], view: str, images_at_once: int
    ) -> Float[Tensor, "e b d"]:
        if self.transductive:
            return network.features(network.stem(fixed_view(x, view)), "batch")
        return _in_parts(network, x, view, images_at_once)


def _in_parts(
    network: EpisodicNetwork, x: Float[Tensor, "e b 3 h w"], view: str, images_at_once: int
) -> Float[Tensor, "e b d"]:
    """Features under the running statistics."""
    parts = x.split(images_at_once, dim=1)
    return torch.cat([network.features(network.stem(fixed_view(part, view))) for part in parts], dim=1)
