"""The plain loops that fewshot_bn must agree with: one episode at a time, libraries as they stand, nothing shared.

Tests compare answers with them, benchmarks compare speed.
"""

import copy

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_bn.adapters.bn import BatchNormTuning
from fewshot_bn.backbones import Backbone


def plain_bn(
    backbone: Backbone,
    x_s: Float[Tensor, "e n 3 h w"],
    y_s: Int64[Tensor, "e n"],
    x_q: Float[Tensor, "e q 3 h w"],
    *,
    settings: BatchNormTuning,
) -> Float[Tensor, "e q way"]:
    """BatchNorm tuning as everyone writes it: a deep copy per episode, autograd over all parameters."""
    n_way = int(y_s.max()) + 1
    answers = []
    for e in range(len(x_s)):
        network = copy.deepcopy(backbone.module).to(memory_format=torch.contiguous_format).requires_grad_().eval()
        head = nn.Linear(backbone.dim, n_way, device=x_s.device, dtype=x_s.dtype)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
        affines = [parameter for norm in norms for parameter in norm.parameters()]
        optimiser = torch.optim.SGD(
            [{"params": affines, "lr": settings.lr_norm}, {"params": head.parameters(), "lr": settings.lr_head}],
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
        support, query = x_s[e].contiguous(), x_q[e].contiguous()
        for _ in range(settings.steps):
            loss = F.cross_entropy(head(network(support)), y_s[e])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            answers.append(head(network(query)))
    return torch.stack(answers)


def sklearn_lr(
    z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"], C: float
) -> Float[ndarray, "e q way"]:
    """Class probabilities by scikit-learn in float64 at a tight tolerance."""
    from sklearn.linear_model import LogisticRegression

    probabilities = []
    for e in range(len(z_s)):
        model = LogisticRegression(C=C, solver="newton-cg", tol=1e-12, max_iter=10_000)
        model.fit(z_s[e].double().numpy(), y_s[e].numpy())
        probabilities.append(model.predict_proba(z_q[e].double().numpy()))
    return np.stack(probabilities)
