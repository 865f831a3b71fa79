"""BatchNorm fine-tuning: the scales and shifts of all BatchNorm layers and a linear head, trained on the support set.

Every step is a gradient step on the mean cross-entropy of the whole support set, in eval mode of BatchNorm (frozen
running statistics), with a cosine schedule. The head starts at zero. Episodes are trained side by side and
independently: their losses are summed, and no parameter is shared.

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; logits [e q way].
Source: the affines as the trained part: Yazdanpanah et al. 2022, "Revisiting learnable affines for batch norm in
few-shot transfer learning", CVPR; the schedule: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn.adapters.contract import Fit, check_not_negative, check_positive, count_ways
from fewshot_bn.adapters.episodic_norm import check_norm_layers, episodic_copy
from fewshot_bn.backbones import Backbone
from fewshot_bn.errors import UsageError


@dataclass(frozen=True, slots=True)
class BatchNormTuning:
    """SGD with momentum on the BatchNorm affines and the head; full-support steps."""

    takes: ClassVar[Literal["images"]] = "images"
    steps: int = 50
    lr_norm: float = 0.01
    lr_head: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        check_not_negative(lr_norm=self.lr_norm, lr_head=self.lr_head, weight_decay=self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum is {self.momentum}; it must be at least 0 and below 1")

    def check(self, backbone: Backbone) -> None:
        check_norm_layers(backbone.module, backbone.name)

    def __call__(
        self,
        backbone: Backbone,
        x_s: Float[Tensor, "e n 3 h w"],
        y_s: Int64[Tensor, "e n"],
        x_q: Float[Tensor, "e q 3 h w"],
    ) -> Fit:
        self.check(backbone)
        n_episodes, n_way = len(x_s), count_ways(y_s)
        network, norms = episodic_copy(backbone.module, n_episodes)
        weight = nn.Parameter(x_s.new_zeros(n_episodes, n_way, backbone.dim))
        bias = nn.Parameter(x_s.new_zeros(n_episodes, n_way))

        def classify(x: Float[Tensor, "e b 3 h w"]) -> Float[Tensor, "e b way"]:
            z = network(x.flatten(0, 1)).reshape(n_episodes, -1, backbone.dim)
            return torch.baddbmm(bias[:, None], z, weight.mT)

        affines = [parameter for norm in norms for parameter in norm.parameters()]
        optimiser = torch.optim.SGD(
            [{"params": affines, "lr": self.lr_norm}, {"params": [weight, bias], "lr": self.lr_head}],
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: (1 + math.cos(math.pi * t / self.steps)) / 2)
        with torch.enable_grad():
            for _ in range(self.steps):
                optimiser.zero_grad()
                logits = classify(x_s)
                loss = F.cross_entropy(logits.flatten(0, 1), y_s.flatten(), reduction="sum") / y_s.shape[1]
                loss.backward()
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            logits = torch.cat([classify(part) for part in x_q.split(y_s.shape[1], dim=1)], dim=1)
        steps = torch.full((n_episodes,), self.steps, device=logits.device)
        return Fit(logits, steps, converged=logits.isfinite().all((1, 2)))
