"""Adapters as everyone writes them: a deep copy per episode, torch's own layers around the frozen ones, autograd."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from benchmarks.step_references import first_distance
from fewshot_bn import rng


class CentreTap(nn.Module):
    """α added to the middle of the kernel of a convolution, which is what a 1x1 convolution beside it does."""

    def __init__(self, layer, start):
        super().__init__()
        (n_out, n_in, *_), groups = layer.weight.shape, layer.groups
        one = start * torch.eye(n_out // groups, n_in, dtype=layer.weight.dtype)
        self.alpha = nn.Parameter(one.repeat(groups, 1))

    def forward(self, weight):
        tap = torch.zeros_like(weight)
        k_h, k_w = weight.shape[2:]
        tap[:, :, (k_h - 1) // 2, (k_w - 1) // 2] = 1
        return weight + tap * self.alpha[:, :, None, None]


class LowRankProduct(nn.Module):
    """The whole matrix B A beside a weight."""

    def __init__(self, weight, rank, alpha, generator):
        super().__init__()
        n_out, n_in = weight.shape[0], weight[0].numel()
        n_places = weight[0, 0].numel() if weight.ndim == 4 else 1
        rank_here = min(rank, n_out, n_in)
        drawn = torch.randn(n_places * rank_here, n_in // n_places, generator=generator) / math.sqrt(n_in)
        self.a = nn.Parameter(drawn.to(weight.dtype))
        self.b = nn.Parameter(weight.new_zeros(n_out, rank_here))
        self.scale = alpha / rank

    def forward(self, weight):
        rank = self.b.shape[1]
        a = self.a.reshape(-1, rank, self.a.shape[1]).permute(1, 2, 0)  # [r c places]
        return weight + self.scale * (self.b @ a.flatten(1)).reshape(weight.shape)


class Attention(nn.Module):
    """torch's attention step by step, so that parametrized weights take part."""

    def __init__(self, layer):
        super().__init__()
        self.heads = layer.num_heads
        self.qkv = nn.Linear(layer.embed_dim, 3 * layer.embed_dim)
        self.qkv.weight, self.qkv.bias = layer.in_proj_weight, layer.in_proj_bias
        self.out = nn.Linear(layer.embed_dim, layer.embed_dim)
        self.out.weight, self.out.bias = layer.out_proj.weight, layer.out_proj.bias

    def forward(self, x, *_, **__):
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), None


def plain_adapters(backbone, x_s, y_s, x_q, *, settings, seeds):
    """Scores of residual adapters or low-rank products, one episode after another."""
    return torch.stack([plain_episode(backbone, *part, settings) for part in zip(x_s, y_s, x_q, seeds, strict=True)])


def plain_episode(backbone, x_s, y_s, x_q, seed, settings):
    network = copy.deepcopy(backbone.module).to(memory_format=torch.contiguous_format).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    n_way, generator = int(y_s.max()) + 1, rng.torch_generator(seed, "adapters")
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    added = add_to(network, settings.choose(backbone), settings, generator)
    head = head_of(backbone, x_s, y_s, settings)
    beta = nn.Linear(backbone.dim, backbone.dim, bias=False).to(x_s.dtype)
    with torch.no_grad():
        beta.weight.copy_(torch.eye(backbone.dim))

    def scores(z, z_s):
        if settings.head != "ncm":
            return head(z)
        means = torch.stack([z_s[y_s == k].mean(0) for k in range(n_way)])
        return settings.cosine_scale * F.cosine_similarity(z[:, None], means[None], dim=-1)

    def mapped(x):
        return beta(network(x)) if getattr(settings, "beta", False) else network(x)

    rate = settings.lr_alpha if hasattr(settings, "lr_alpha") else settings.lr_factors
    groups = [{"params": added, "lr": rate}]
    groups += [{"params": [beta.weight], "lr": settings.lr_beta}] if getattr(settings, "beta", False) else []
    groups += [{"params": [*head.parameters()], "lr": settings.lr_head}] if settings.head != "ncm" else []
    optimiser = optimisers(settings)(groups)
    rates = [group["lr"] for group in groups]
    for norm in norms if settings.statistics == "batch" else []:
        norm.train()
    if settings.units == "features":
        trial, body = optimisers(settings)(groups[:-1]), groups[:-1]  # the last is the head
        trained = [value for group in body for value in group["params"]]

        def first_step():
            F.cross_entropy(head(mapped(x_s)), y_s).backward()
            trial.step()

        factor = rate / first_distance(trained, lambda: mapped(x_s), first_step, settings.small)
        rates[:-1] = [lr * factor for lr in rates[:-1]]
    for step in range(settings.steps):
        for group, lr in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = lr * (
                (1 + math.cos(math.pi * step / settings.steps)) / 2 if settings.schedule == "cosine" else 1
            )
        optimiser.zero_grad()
        z_s = mapped(x_s)
        F.cross_entropy(scores(z_s, z_s), y_s).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        return scores(mapped(x_q), mapped(x_s))


@torch.no_grad()
def head_of(backbone, x_s, y_s, settings):
    n_way = int(y_s.max()) + 1
    head = nn.Linear(backbone.dim, n_way).to(x_s.dtype)
    head.weight.zero_()
    head.bias.zero_()
    if settings.head == "proto":
        z = backbone.module(x_s)  # without what is added
        means = torch.stack([z[y_s == k].mean(0) for k in range(n_way)])
        head.weight.copy_(2 * means)
        head.bias.copy_(-means.square().sum(1))
    return head


def optimisers(settings):
    return {
        "sgd": lambda groups: torch.optim.SGD(groups, momentum=settings.momentum),
        "adam": torch.optim.Adam,
        "adadelta": lambda groups: torch.optim.Adadelta(groups, rho=settings.momentum),
    }[settings.optimiser]


def add_to(network, names, settings, generator):
    """Put trained parts into layers; they are given back."""
    added = []
    for name in names:
        layer = network.get_submodule(name)
        layers = [layer]
        if isinstance(layer, nn.MultiheadAttention):
            attention = Attention(layer)
            network.set_submodule(name, attention)
            layers = [attention.qkv, attention.out]
        for part in layers:
            if hasattr(settings, "rank"):
                extra = LowRankProduct(part.weight, settings.rank, settings.alpha, generator)
            else:
                extra = CentreTap(part, settings.start)
            register_parametrization(part, "weight", extra)
            added += [*extra.parameters()]
    return added
