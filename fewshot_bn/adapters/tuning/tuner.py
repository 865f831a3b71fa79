"""What all tuners share: a network adapted to the support set of each episode, then queries classified by it.

One step is a gradient step on the mean cross-entropy of the whole support set, or of a random part of it. Queries are
then classified by the trained head, or by a probe that is solved anew on the features of the tuned network. What is
trained besides the head, a tuner says in a few methods of its own.

Statistics of BatchNorm, by policy:
    frozen         the pretrained running statistics, always
    batch          those of each training batch; the running statistics follow, and queries are normalised with them
    converted      first take the support set's, changing scale and shift so that the network stays the same; then batch
    support        take the support set's, layer after layer, scale and shift staying as they are; then frozen
    support+query  likewise those of all support images and queries of the episode
    transductive   as batch, but queries are normalised with the statistics of all queries of their episode, and for a
                   readout the support images with those of all support images

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; logits [e q way].
Source: statistics of the new domain in place of the pretrained ones (AdaBN): Li et al. 2017, arXiv:1603.04779.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, count_ways
from fewshot_bn.adapters.tuning.adapted import Adapted, Episodes, in_parts, joined
from fewshot_bn.adapters.tuning.batches import Support
from fewshot_bn.adapters.tuning.course import Course
from fewshot_bn.adapters.tuning.episodic_norm import Statistics
from fewshot_bn.adapters.tuning.first_step import with_rate_of_features
from fewshot_bn.adapters.tuning.heads import Head, seen, start_head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork, Stem
from fewshot_bn.adapters.tuning.norm_layers import check_batch_statistics
from fewshot_bn.adapters.tuning.settings import OF_QUERIES, OF_TRAINING_BATCHES, TuningSettings
from fewshot_bn.adapters.tuning.training import Group, Training
from fewshot_bn.adapters.tuning.two_stage import Chosen, classify_by_all, member_stages, seen_by_members
from fewshot_bn.adapters.tuning.views import RANDOM_VIEWS, parse_views
from fewshot_bn.backbones.backbone import Backbone

IMAGES_AT_ONCE = 25  # per episode at least; without gradients they take less memory than as many in a training step


@runtime_checkable
class Trained(Protocol):
    """What is trained of a network besides the head, starting as it is there."""

    @property
    def values(self) -> Sequence[Tensor]: ...

    def apply(self) -> None:
        """Let the network have the present values."""


@dataclass(frozen=True, slots=True)
class Tuning(TuningSettings):
    """A tuner but for what it trains."""

    takes: ClassVar[Literal["images"]] = "images"
    one_by_one: ClassVar[bool] = False  # whether an episode needs a network of its own
    small: ClassVar[float] = 0.001  # what moves a network a little, as a root mean square of what is trained

    def choose(self, backbone: Backbone) -> Sequence[str]:
        """Names of what is changed of the backbone. Raises `ModelError` or `UsageError` where that cannot be."""
        raise NotImplementedError

    def check_names(self, backbone: Backbone, names: Sequence[str], n_support: int, n_query: int) -> None:
        """Raise `ModelError` where these cannot be changed for episodes of so many images."""

    def network(self, backbone: Backbone, names: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        """The network that is tuned."""
        raise NotImplementedError

    def trained(self, network: EpisodicNetwork, seeds: Sequence[int]) -> Trained:
        """What is trained of it; `seeds`, one per episode, decide whatever is drawn."""
        raise NotImplementedError

    def groups(self, trained: Trained, head: Head) -> list[Group]:
        """What an optimiser has to know."""
        raise NotImplementedError

    @property
    def rates_of_features(self) -> bool:
        """Whether the first rate says how far the first step moves the features (first_step.py)."""
        return False

    @property
    def transductive(self) -> bool:
        """Whether a query has a say in how another is classified."""
        return self.statistics in OF_QUERIES

    def stages(self, backbone: Backbone) -> Sequence[Chosen]:
        """What is tuned by itself, one after the other: the backbone, or each of its members."""
        names = self.choose(backbone)
        if self.members == "joint":
            return [Chosen(backbone, names)]
        return member_stages(backbone, names)

    def check(self, backbone: Backbone, n_support: int, n_query: int) -> None:
        for stage in self.stages(backbone):
            self.check_names(stage.backbone, stage.names, n_support, n_query)

    def bytes_per_image(self, backbone: Backbone) -> int:
        return max(map(self._bytes_per_image, self.stages(backbone)))

    def _bytes_per_image(self, stage: Chosen) -> int:
        side, like = stage.backbone.preprocessing.crop_px, next(stage.backbone.module.parameters())
        network, x = self.network(stage.backbone, stage.names, 1), like.new_zeros(1, 2, 3, side, side)
        network.try_cut(x)
        trained = self.trained(network, [0])
        with torch.enable_grad():
            trained.apply()
            return network.kept_bytes(x, trained.values)

    def check_batches(self, backbone: Backbone, norms: Sequence[str], n_support: int, n_query: int) -> None:
        """Raise `ModelError` where one of these BatchNorm layers would take statistics of a single value."""
        if self.statistics in OF_TRAINING_BATCHES:
            size = min(self.batch_size or n_support, n_support)
            check_batch_statistics(backbone, norms, n_support % size or size, "a batch")
        if self.statistics == "transductive":
            check_batch_statistics(backbone, norms, n_query, "a query set")

    def images_together(self, n_support: int, n_query: int) -> int:
        whole = {
            "converted": n_support,
            "support": n_support,
            "support+query": n_support + n_query,
            "transductive": max(n_support, n_query),
        }
        return max(whole.get(self.statistics, 1), min(self.batch_size or n_support, n_support))

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
        stages = self.stages(backbone)
        for stage in stages:
            self.check_names(stage.backbone, stage.names, y_s.shape[1], x_q.shape[1])
        episodes = Episodes(x_s, y_s, x_q, [0] * len(x_s) if seeds is None else seeds, images_at_once)
        at_once = 1 if self.one_by_one else len(x_s)
        parts = (episodes[start : start + at_once] for start in range(0, len(x_s), at_once))
        if self.members == "joint":
            names = stages[0].names
            return joined([self.adapted(backbone, names, part).classify(part.x_q) for part in parts])
        return joined([classify_by_all(self.adapted, stages, seen_by_members(backbone, part)) for part in parts])

    def adapted(self, backbone: Backbone, names: Sequence[str], episodes: Episodes) -> Adapted:
        """The network tuned to the support sets, with its head."""
        x_s, y_s, n = episodes.x_s, episodes.y_s, episodes.y_s.shape[1]
        n_way, at_once = count_ways(y_s), episodes.images_at_once or max(n, IMAGES_AT_ONCE)
        network = self.network(backbone, names, len(x_s))
        network.try_cut(x_s[:, :1])
        stem, views = network.stem(x_s), parse_views(self.augment, RANDOM_VIEWS)
        self._take_statistics(network, stem, episodes.x_q)
        support = Support(network, x_s, stem, y_s, episodes.seeds, self.batch_size, views, backbone.preprocessing)
        with torch.no_grad():
            head = start_head(
                self,
                (n_way, backbone.dim),
                lambda: seen(in_parts(network, x_s, "none", at_once), self.scaling),
                y_s,
                seeds=episodes.seeds,
                like=x_s,
            )
        if self.statistics == "converted":
            network.convert([stem])
        trained = self.trained(network, episodes.seeds)
        training = self.training(network, trained, head, episodes.images_at_once or n)
        with torch.enable_grad():
            if self.rates_of_features:
                training = with_rate_of_features(training, support, self.small)
            course = Course(training, len(y_s), self.n_steps(n))
            for batch in itertools.islice(support.batches(), self.n_steps(n)):
                if not course.step(batch):
                    break
        networks = [network]
        with torch.no_grad():
            trained.apply()
            if self.average_frozen:
                networks.append(self.network(backbone, names, len(x_s)))
                networks[1].try_cut(x_s[:, :1])
        return Adapted(self, networks, head, support, course.steps, at_once)

    def training(self, network: EpisodicNetwork, trained: Trained, head: Head, images_at_once: int) -> Training:
        """How what is trained of the network, and the head, follow from batches of images."""
        statistics: Statistics = "batch, tracked" if self.statistics in OF_TRAINING_BATCHES else "running"

        def features(stem: Stem) -> Float[Tensor, "e b d"]:
            trained.apply()
            return seen(network.features(stem, statistics), self.scaling)

        def scores(z: Float[Tensor, "e b d"], y: Int64[Tensor, "e b"]) -> Float[Tensor, "e b way"]:
            return head.fitted(lambda: z, y)(z)

        return Training(self, features, scores, self.groups(trained, head), network.running, images_at_once)

    def _take_statistics(self, network: EpisodicNetwork, support: Stem, x_q: Float[Tensor, "e q 3 h w"]) -> None:
        if self.statistics == "support":
            network.take_statistics(support)
        if self.statistics == "support+query":
            both = zip(support, network.stem(x_q), strict=True)
            network.take_statistics(tuple(torch.cat(values, 1) for values in both))
