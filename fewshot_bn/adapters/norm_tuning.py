"""Fine-tuning of norm layers: their scales and shifts and a linear head, trained on the support set of each episode.

Episodes are trained side by side and independently: their losses are summed, and no parameter is shared. One step is a
gradient step on the mean cross-entropy of the whole support set, or of a random part of it.

Statistics of BatchNorm, by policy:
    frozen        the pretrained running statistics, always
    batch         those of each training batch; the running statistics follow, and queries are normalised with them
    converted     first take the support set's, changing scale and shift so that the network stays the same; then batch
    transductive  as batch, but queries are normalised with the statistics of all queries of their episode

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; logits [e q way].
Sources: the affines as the trained part, and `bn23`: Yazdanpanah et al. 2022, "Revisiting learnable affines for batch
norm in few-shot transfer learning", CVPR; the schedule: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without
restarts; 100 epochs of batches of 4: Guo et al. 2020, arXiv:1912.07200.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn.adapters.augmentation import parse_views
from fewshot_bn.adapters.contract import Fit, check_not_negative, check_positive, count_ways
from fewshot_bn.adapters.episodic_network import EpisodicNetwork, Stem
from fewshot_bn.adapters.heads import Head, normal_head, probe_head, prototype_head, zero_head
from fewshot_bn.adapters.lr import LogisticRegression
from fewshot_bn.adapters.norm_layers import check_batch_statistics, choose_layers
from fewshot_bn.adapters.support import Batch, Support
from fewshot_bn.backbones import Backbone
from fewshot_bn.errors import UsageError

MOST_STEPS = 10**9
QUERIES_AT_ONCE = 25  # per episode at least; without gradients they take less memory than as many support images


@dataclass(frozen=True, slots=True)
class NormTuning:
    """Which layers, under which statistics, from which head, with which optimiser and for how long.

    `steps` are gradient steps; `epochs` are passes over the support set, an alternative to `steps`. A `batch_size` of 0
    is the whole support set. An episode whose mean loss over a pass is at most `stop_loss` takes no further step. `C`
    is that of the probe which head=lr starts from; Adam takes `momentum` as β1, with β2 = 0.999.
    """

    takes: ClassVar[Literal["images"]] = "images"
    norm: Literal["batch", "group", "layer"] = "batch"
    scope: str = "all"
    affines: Literal["both", "scale", "shift"] = "both"
    statistics: Literal["frozen", "batch", "converted", "transductive"] = "frozen"
    head: Literal["zero", "normal", "proto", "lr"] = "zero"
    head_std: float = 0.01
    C: float = 1.0
    steps: int = 50
    epochs: int = 0
    batch_size: int = 0
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr_norm: float = 0.01
    lr_head: float = 0.01
    momentum: float = 0.9
    dampening: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    label_smoothing: float = 0.0
    augment: str = "none"
    stop_loss: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_positive(head_std=self.head_std, C=self.C)
        check_not_negative(
            steps=self.steps, epochs=self.epochs, batch_size=self.batch_size, lr_norm=self.lr_norm, lr_head=self.lr_head
        )
        check_not_negative(weight_decay=self.weight_decay, stop_loss=self.stop_loss)
        for name in ("momentum", "dampening", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        for name in ("steps", "epochs", "batch_size"):
            if getattr(self, name) > MOST_STEPS:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at most {MOST_STEPS:,}")
        if bool(self.steps) == bool(self.epochs):
            raise UsageError(f"steps is {self.steps} and epochs is {self.epochs}; exactly one of them must be above 0")
        if self.dampening and (self.optimiser == "adam" or not self.momentum):
            raise UsageError("dampening needs optimiser=sgd with a momentum above 0")
        if self.statistics != "frozen" and self.norm != "batch":
            raise UsageError(f"statistics={self.statistics} is a policy of BatchNorm; norm={self.norm} keeps none")
        parse_views(self.augment)

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
        n_way = count_ways(y_s)
        layers = self._checked_layers(backbone, y_s.shape[1], x_q.shape[1])
        seeds = [0] * len(x_s) if seeds is None else seeds
        network = self._network(backbone, layers, len(x_s))
        network.try_cut(x_s[:, :1])
        stem, views = network.stem(x_s), parse_views(self.augment)
        head = self._start_head(network, stem, y_s, (n_way, backbone.dim), seeds=seeds)
        if self.statistics == "converted":
            network.convert(stem)
        support = Support(network, x_s, stem, y_s, seeds, self.batch_size, views, backbone.preprocessing)
        with torch.enable_grad():
            steps = self._train(network, head, support, images_at_once or y_s.shape[1])
        logits = self._classify(network, head, x_q, images_at_once or max(y_s.shape[1], QUERIES_AT_ONCE))
        return Fit(logits, steps, converged=logits.isfinite().all((1, 2)))

    def _network(self, backbone: Backbone, layers: Sequence[str], n_episodes: int) -> EpisodicNetwork:
        return EpisodicNetwork(backbone, layers, n_episodes, low_precision=self.precision == "bfloat16")

    @torch.no_grad()
    def _start_head(
        self,
        network: EpisodicNetwork,
        stem: Stem,
        y_s: Int64[Tensor, "e n"],
        size: tuple[int, int],
        *,
        seeds: Sequence[int],
    ) -> Head:
        if self.head == "zero":
            return zero_head(network.gamma, *size)
        if self.head == "normal":
            return normal_head(network.gamma, *size, std=self.head_std, seeds=seeds)
        z_s = network.features(stem)
        if self.head == "proto":
            return prototype_head(z_s, y_s, size[0])
        return probe_head(z_s, y_s, LogisticRegression(C=self.C, select="fixed", scaling="raw", tolerance=1e-10))

    def _train(self, network: EpisodicNetwork, head: Head, support: Support, images_at_once: int) -> Int64[Tensor, "e"]:
        """Train in place; the steps that each episode took."""
        n_steps = self.n_steps(support.y.shape[1])
        optimiser, schedule = self._optimiser(network, head, n_steps)
        going = torch.ones(len(support.y), dtype=torch.bool, device=support.y.device)
        steps = torch.zeros(len(support.y), dtype=torch.int64, device=support.y.device)
        pass_loss = network.gamma.new_zeros(len(support.y))
        for batch in itertools.islice(support.batches(), n_steps):
            kept = [tensor.clone() for tensor in (*network.state, head.weight, head.bias)] if self.stop_loss else []
            optimiser.zero_grad()
            losses = self._backward(network, head, batch, images_at_once)
            optimiser.step()
            schedule.step()
            steps += going
            if self.stop_loss:
                _put_back((*network.state, head.weight, head.bias), kept, where=~going)
                pass_loss += losses * batch.share
                if batch.ends_pass:
                    going &= ~(pass_loss <= self.stop_loss)
                    pass_loss.zero_()
                    if not bool(going.any()):
                        break
        return steps

    def _backward(self, network: EpisodicNetwork, head: Head, batch: Batch, images_at_once: int) -> Float[Tensor, "e"]:
        """Add the gradients of the mean loss of each episode; those losses."""
        frozen = self.statistics == "frozen"
        total = network.gamma.new_zeros(len(batch.y))
        for part in batch.parts(images_at_once) if frozen else [batch]:
            logits = head(network.features(part.stem, "running" if frozen else "batch, tracked"))
            losses = F.cross_entropy(
                logits.flatten(0, 1), part.y.flatten(), reduction="none", label_smoothing=self.label_smoothing
            )
            losses = losses.reshape(part.y.shape).sum(1) / batch.y.shape[1]
            losses.sum().backward()
            total += losses.detach()
        return total

    def _optimiser(
        self, network: EpisodicNetwork, head: Head, n_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        affines = {"both": [network.gamma, network.beta], "scale": [network.gamma], "shift": [network.beta]}
        for parameter in (network.gamma, network.beta):
            parameter.requires_grad_(any(parameter is trained for trained in affines[self.affines]))
        groups = [
            {"params": affines[self.affines], "lr": self.lr_norm},
            {"params": [head.weight, head.bias], "lr": self.lr_head},
        ]
        optimiser: torch.optim.Optimizer
        if self.optimiser == "adam":
            optimiser = torch.optim.Adam(groups, betas=(self.momentum, 0.999), weight_decay=self.weight_decay)
        else:
            optimiser = torch.optim.SGD(
                groups, momentum=self.momentum, dampening=self.dampening, weight_decay=self.weight_decay
            )

        def factor(step: int) -> float:
            return (1 + math.cos(math.pi * step / n_steps)) / 2 if self.schedule == "cosine" else 1.0

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)

    @torch.no_grad()
    def _classify(
        self, network: EpisodicNetwork, head: Head, x_q: Float[Tensor, "e q 3 h w"], images_at_once: int
    ) -> Float[Tensor, "e q way"]:
        if self.transductive:
            return head(network.features(network.stem(x_q), "batch"))
        return torch.cat([head(network.features(network.stem(x))) for x in x_q.split(images_at_once, dim=1)], dim=1)


def _put_back(tensors: Sequence[Tensor], kept: Sequence[Tensor], *, where: Bool[Tensor, "e"]) -> None:
    """Undo what happened to the episodes that have stopped."""
    with torch.no_grad():
        for tensor, before in zip(tensors, kept, strict=True):
            tensor[where] = before[where]
