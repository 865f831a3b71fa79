"""The plain loops that fewshot_bn must agree with: one episode at a time, libraries as they stand, nothing shared.

Tests compare answers with them, benchmarks compare speed.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import center_crop

from benchmarks.norm_references import (
    convert,
    measure_from_here,
    measure_weights_from_here,
    plain_affines,
    plain_norms,
    take_statistics,
)
from benchmarks.step_references import first_distance
from fewshot_bn import rng
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.ridge import Ridge
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.backbone import Backbone


def plain_tuning(
    backbone: Backbone,
    x_s: Float[Tensor, "e n 3 h w"],
    y_s: Int64[Tensor, "e n"],
    x_q: Float[Tensor, "e q 3 h w"],
    *,
    settings: Tuning,
    seeds: Sequence[int] | None = None,
) -> Float[Tensor, "e q way"]:
    """Tuning as everyone writes it: a deep copy per episode, torch's own layers, autograd over all parameters."""
    seeds = seeds or [0] * len(x_s)
    return torch.stack(
        [plain_episode(backbone, x_s[e], y_s[e], x_q[e], settings=settings, seed=seeds[e]) for e in range(len(x_s))]
    )


def plain_episode(
    backbone: Backbone,
    x_s: Float[Tensor, "n 3 h w"],
    y_s: Int64[Tensor, "n"],
    x_q: Float[Tensor, "q 3 h w"],
    *,
    settings: Tuning,
    seed: int,
) -> Float[Tensor, "q way"]:
    x_s, x_q = x_s.contiguous(), x_q.contiguous()
    network, head = plain_tuned(backbone, x_s, y_s, x_q, settings=settings, seed=seed)
    with torch.no_grad():
        views = [lambda x: x, *(PLAIN_VIEWS[name] for name in settings.test_augment.split(",") if name != "none")]
        networks = [network, *([backbone.module] if settings.average_frozen else [])]
        scores = [
            score
            for module, view in itertools.product(networks, views)
            for score in plain_scores(module, head, view(x_s), y_s, view(x_q), settings=settings)
        ]
        return scores[0] if len(scores) == 1 else torch.stack([score.softmax(-1) for score in scores]).mean(0).log()


def plain_tuned(
    backbone: Backbone,
    x_s: Float[Tensor, "n 3 h w"],
    y_s: Int64[Tensor, "n"],
    x_q: Float[Tensor, "q 3 h w"],
    *,
    settings: Tuning,
    seed: int,
) -> tuple[nn.Module, nn.Linear]:
    """The tuned network and its head."""
    network = copy.deepcopy(backbone.module).to(memory_format=torch.contiguous_format).requires_grad_().eval()
    norms = plain_norms(network, backbone, settings)
    if settings.statistics in ("support", "support+query"):
        take_statistics(network, norms, torch.cat([x_s, x_q]) if settings.statistics == "support+query" else x_s)
    head = plain_head(network, x_s, y_s, backbone.dim, settings=settings, seed=seed)
    if settings.statistics == "converted":
        convert(network, norms, x_s)
    if settings.statistics in ("batch", "converted", "transductive"):
        for norm in norms:
            norm.train()
    if isinstance(settings, NormTuning):
        if settings.units == "relative":
            measure_from_here(norms, settings)
        groups = [{"params": plain_affines(norms, settings), "lr": settings.lr_norm}]
    else:
        names = settings.choose(backbone)
        relative = settings.units != "absolute"
        body = measure_weights_from_here(network, names) if relative else [network.get_parameter(n) for n in names]
        groups = [{"params": body, "lr": settings.lr_body}]
        if settings.units == "features":
            groups[0]["lr"] = settings.lr_body**2 / plain_first_distance(network, head, x_s, y_s, body, settings, seed)
    optimiser = plain_optimiser(groups, head, settings)
    train_plainly(network, head, (x_s, y_s), optimiser, settings=settings, seed=seed)
    if settings.statistics != "transductive":
        network.eval()
    return network, head


def train_plainly(
    network: nn.Module,
    head: nn.Linear,
    support: tuple[Tensor, Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    settings: Tuning,
    seed: int,
) -> None:
    (x_s, y_s), n = support, len(support[1])
    size = settings.batch_size or n
    n_steps = settings.steps or settings.epochs * -(-n // size)
    step = epoch = 0
    while step < n_steps:
        order = torch.arange(n) if size >= n else torch.from_numpy(rng.permutation(n, seed, "batches", epoch))
        pass_loss = 0.0
        for rows in order.to(x_s.device).split(size)[: n_steps - step]:
            for group in optimiser.param_groups:
                cosine = (1 + math.cos(math.pi * step / n_steps)) / 2
                group["lr"] = group["first_lr"] * (cosine if settings.schedule == "cosine" else 1)
            optimiser.zero_grad()
            x, y = (x_s, y_s) if len(rows) == n else (x_s[rows], y_s[rows])
            loss = F.cross_entropy(head(plain_seen(network(x), settings)), y, label_smoothing=settings.label_smoothing)
            loss.backward()
            optimiser.step()
            if settings.stop_loss:
                pass_loss += loss.item() * len(rows) / n
            step += 1
        epoch += 1
        if settings.stop_loss and pass_loss <= settings.stop_loss:
            break


def plain_first_distance(  # noqa: PLR0917
    network: nn.Module, head: nn.Linear, x_s: Tensor, y_s: Tensor, body: list[Tensor], settings: FineTuning, seed: int
) -> float:
    """How far the first step of the training moves the features of its batch."""
    network, head, body = copy.deepcopy((network, head, body))  # with one memory, so that they stay together
    n, size = len(y_s), min(settings.batch_size or len(y_s), len(y_s))
    rows = torch.arange(n) if size == n else torch.from_numpy(rng.permutation(n, seed, "batches", 0))[:size]
    x, y = x_s[rows], y_s[rows]
    optimiser = plain_optimiser([{"params": body, "lr": settings.lr_body}], head, settings)

    def step() -> None:
        scores = head(plain_seen(network(x), settings))
        F.cross_entropy(scores, y, label_smoothing=settings.label_smoothing).backward()
        optimiser.step()

    return first_distance(body, lambda: network(x), step, settings.small)


PLAIN_VIEWS = {
    "flip": lambda x: x.flip(3),
    "centre": lambda x: F.interpolate(center_crop(x, [round(x.shape[2] * 0.875)] * 2), x.shape[2:], mode="bilinear"),
}


def plain_scores(  # noqa: PLR0917
    network: nn.Module, head: nn.Linear, x_s: Tensor, y_s: Tensor, x_q: Tensor, *, settings: Tuning
) -> list[Tensor]:
    z_q = network(x_q)
    if settings.readout == "head":
        return [head(plain_seen(z_q, settings))]
    arguments = network(x_s)[None], y_s[None], z_q[None]
    probes = {"lr": (LogisticRegression(), 1), "ridge": (Ridge(), 8)}  # which have tests of their own
    return [probes[name][1] * probes[name][0](*arguments).logits[0] for name in settings.readout.split("+")]


def plain_seen(z: Tensor, settings: Tuning) -> Tensor:
    return z / z.norm(dim=1, keepdim=True) if settings.scaling == "l2" else z


def plain_optimiser(groups: list[dict[str, Any]], head: nn.Linear, settings: Tuning) -> torch.optim.Optimizer:
    of_head = settings.of_head if isinstance(settings, FineTuning) else settings
    by_inertia = [*((group, settings) for group in groups)]
    by_inertia.append(({"params": [*head.parameters()], "lr": settings.lr_head}, of_head))
    for group, inertia in by_inertia:
        own = {
            "sgd": {"momentum": inertia.momentum, "dampening": inertia.dampening},
            "adadelta": {"rho": inertia.momentum},
        }.get(settings.optimiser, {"betas": (inertia.momentum, 0.999)})
        group.update(own, first_lr=group["lr"], weight_decay=inertia.weight_decay)
    kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adadelta": "Adadelta"}
    return getattr(torch.optim, kinds[settings.optimiser])([group for group, _ in by_inertia])


def plain_head(network: nn.Module, x_s: Tensor, y_s: Tensor, dim: int, *, settings: Tuning, seed: int) -> nn.Linear:
    n_way = int(y_s.max()) + 1
    head = nn.Linear(dim, n_way, device=x_s.device, dtype=x_s.dtype)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        if settings.head == "normal":
            drawn = torch.randn(n_way, dim, generator=rng.torch_generator(seed, "head"))
            head.weight.copy_(settings.head_std * drawn)
        if settings.head in ("zero", "normal"):
            return head
        z = plain_seen(network(x_s), settings)
        if settings.head == "proto":
            for k in range(n_way):
                mean = z[y_s == k].mean(0)
                head.weight[k], head.bias[k] = 2 * mean, -mean @ mean
        if settings.head == "lr":  # the probe has tests of its own
            probe = LogisticRegression(C=settings.C, select="fixed", scaling="raw", tolerance=1e-10)
            weight, bias = probe.coefficients(z[None], y_s[None])
            head.weight.copy_(weight[0])
            head.bias.copy_(bias[0])
    return head


def sklearn_lr(
    z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"], C: float
) -> Float[ndarray, "e q way"]:
    """Class probabilities by scikit-learn in float64 at a tight tolerance."""
    from sklearn.linear_model import LogisticRegression as Theirs

    probabilities = []
    for e in range(len(z_s)):
        model = Theirs(C=C, solver="newton-cg", tol=1e-12, max_iter=10_000)
        model.fit(z_s[e].double().numpy(), y_s[e].numpy())
        probabilities.append(model.predict_proba(z_q[e].double().numpy()))
    return np.stack(probabilities)
