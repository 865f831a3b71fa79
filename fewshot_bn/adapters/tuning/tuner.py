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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fewshot_bn.adapters.contract import Fit, count_ways
from fewshot_bn.adapters.tuning.batches import Support
from fewshot_bn.adapters.tuning.episodic_norm import Statistics
from fewshot_bn.adapters.tuning.heads import Head, seen, start_head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork, Stem
from fewshot_bn.adapters.tuning.norm_layers import check_batch_statistics
from fewshot_bn.adapters.tuning.readout import mean_probabilities, read_out
from fewshot_bn.adapters.tuning.settings import OF_QUERIES, OF_TRAINING_BATCHES, TuningSettings
from fewshot_bn.adapters.tuning.training import Group, Training
from fewshot_bn.adapters.tuning.views import RANDOM_VIEWS, fixed_view, fixed_views, parse_views
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
class Episodes:
    """What a tuner is called on, and how many images of an episode may be in memory together."""

    x_s: Float[Tensor, "e n 3 h w"]
    y_s: Int64[Tensor, "e n"]
    x_q: Float[Tensor, "e q 3 h w"]
    seeds: Sequence[int]
    images_at_once: int | None

    def __getitem__(self, part: slice) -> "Episodes":
        return Episodes(self.x_s[part], self.y_s[part], self.x_q[part], self.seeds[part], self.images_at_once)


@dataclass(frozen=True, slots=True)
class Tuning(TuningSettings):
    """A tuner but for what it trains."""

    takes: ClassVar[Literal["images"]] = "images"
    one_by_one: ClassVar[bool] = False  # whether an episode needs a network of its own

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
    def transductive(self) -> bool:
        """Whether a query has a say in how another is classified."""
        return self.statistics in OF_QUERIES

    def check(self, backbone: Backbone, n_support: int, n_query: int) -> None:
        self.check_names(backbone, self.choose(backbone), n_support, n_query)

    def bytes_per_image(self, backbone: Backbone) -> int:
        side, like = backbone.preprocessing.crop_px, next(backbone.module.parameters())
        network, x = self.network(backbone, self.choose(backbone), 1), like.new_zeros(1, 2, 3, side, side)
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
        names = self.choose(backbone)
        self.check_names(backbone, names, y_s.shape[1], x_q.shape[1])
        episodes = Episodes(x_s, y_s, x_q, [0] * len(x_s) if seeds is None else seeds, images_at_once)
        at_once = 1 if self.one_by_one else len(x_s)
        parts = (episodes[start : start + at_once] for start in range(0, len(x_s), at_once))
        return _joined([self.adapted(backbone, names, part).classify(part.x_q) for part in parts])

    def adapted(self, backbone: Backbone, names: Sequence[str], episodes: Episodes) -> "Adapted":
        """The network tuned to the support sets, with its head."""
        x_s, y_s, n = episodes.x_s, episodes.y_s, episodes.y_s.shape[1]
        n_way, at_once = count_ways(y_s), episodes.images_at_once or max(n, IMAGES_AT_ONCE)
        network = self.network(backbone, names, len(x_s))
        network.try_cut(x_s[:, :1])
        self._take_statistics(network, episodes)
        stem, views = network.stem(x_s), parse_views(self.augment, RANDOM_VIEWS)
        support = Support(network, x_s, stem, y_s, episodes.seeds, self.batch_size, views, backbone.preprocessing)
        with torch.no_grad():
            head = start_head(
                self,
                (n_way, backbone.dim),
                lambda: seen(_in_parts(network, x_s, "none", at_once), self.scaling),
                y_s,
                seeds=episodes.seeds,
                like=x_s,
            )
        if self.statistics == "converted":
            network.convert(stem)
        trained = self.trained(network, episodes.seeds)
        statistics: Statistics = "batch, tracked" if self.statistics in OF_TRAINING_BATCHES else "running"

        def forward(stem: Stem, y: Int64[Tensor, "e b"]) -> Float[Tensor, "e b way"]:
            trained.apply()
            z = seen(network.features(stem, statistics), self.scaling)
            return head.fitted(lambda: z, y)(z)

        training = Training(self, forward, self.groups(trained, head), network.running, episodes.images_at_once or n)
        with torch.enable_grad():
            steps = training.run(support, self.n_steps(n))
        networks = [network]
        with torch.no_grad():
            trained.apply()
            if self.average_frozen:
                networks.append(self.network(backbone, names, len(x_s)))
                networks[1].try_cut(x_s[:, :1])
        return Adapted(self, networks, head, support, steps, at_once)

    def _take_statistics(self, network: EpisodicNetwork, episodes: Episodes) -> None:
        if self.statistics == "support":
            network.take_statistics(network.stem(episodes.x_s))
        if self.statistics == "support+query":
            network.take_statistics(network.stem(torch.cat([episodes.x_s, episodes.x_q], 1)))


@dataclass(frozen=True, slots=True)
class Adapted:
    """What tuning gave: networks (the tuned one, perhaps the pretrained one beside it), head, and steps of episodes."""

    settings: TuningSettings
    networks: Sequence[EpisodicNetwork]
    head: Head
    support: Support
    steps: Int64[Tensor, "e"]
    images_at_once: int

    @torch.no_grad()
    def classify(self, x_q: Float[Tensor, "e q 3 h w"]) -> Fit:
        """The scores of the queries."""
        logits, solved = self._scores(x_q)
        return Fit(logits, self.steps, converged=solved & logits.isfinite().all((1, 2)))

    def _scores(self, x_q: Float[Tensor, "e q 3 h w"]) -> tuple[Float[Tensor, "e q way"], Bool[Tensor, "e"]]:
        """The scores, and which episodes' readouts are solved."""
        readout = self.settings.readout
        if readout == "head":
            z_s, y_s = self._seen(self.support.x), self.support.y
            scores = [self.head.fitted(lambda: next(z_s), y_s)(z_q) for z_q in self._seen(x_q)]
            return mean_probabilities(scores), torch.ones(len(x_q), dtype=torch.bool, device=x_q.device)
        views = zip(self.features(self.support.x), self.features(x_q), strict=True)
        return read_out(readout, views, self.support.y)

    def _seen(self, x: Float[Tensor, "e b 3 h w"]) -> Iterator[Float[Tensor, "e b d"]]:
        return (seen(z, self.settings.scaling) for z in self.features(x))

    def features(self, x: Float[Tensor, "e b 3 h w"]) -> Iterator[Float[Tensor, "e b d"]]:
        """Those of every network and fixed view of the images."""
        for network, view in itertools.product(self.networks, fixed_views(self.settings.test_augment)):
            if self.settings.statistics == "transductive":
                yield network.features(network.stem(fixed_view(x, view)), "batch")
            else:
                yield _in_parts(network, x, view, self.images_at_once)


def _in_parts(
    network: EpisodicNetwork, x: Float[Tensor, "e b 3 h w"], view: str, images_at_once: int
) -> Float[Tensor, "e b d"]:
    """Features under the running statistics."""
    parts = x.split(images_at_once, dim=1)
    return torch.cat([network.features(network.stem(fixed_view(part, view))) for part in parts], dim=1)


def _joined(fits: Sequence[Fit]) -> Fit:
    if len(fits) == 1:
        return fits[0]
    logits, steps, converged = zip(*((fit.logits, fit.steps, fit.converged) for fit in fits), strict=True)
    return Fit(torch.cat(logits), torch.cat(steps), torch.cat(converged))
