"""Random episodes for adapters: features of classes that can be told apart, and images likewise."""

import torch
from reference.networks import small_backbone
from torch import nn

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.cli.settings import with_texts
from fewshot_bn.preprocessing import Preprocessing

N_WAY, SIDE, DIM = 3, 8, 6


def adapter_problem(name, *, n_episodes=4, n_support=2, n_query=5, seed=0):
    """Arguments of the adapter: features, or images whose brightness depends on the class."""
    generator = torch.Generator().manual_seed(seed)
    y_s = torch.arange(N_WAY).repeat_interleave(n_support).expand(n_episodes, -1).contiguous()
    y_q = torch.arange(N_WAY).repeat_interleave(n_query).expand(n_episodes, -1)
    size = (DIM,) if ADAPTERS[name].takes == "features" else (3, SIDE, SIDE)

    def inputs(y):
        means = torch.randn(n_episodes, N_WAY, *size, generator=torch.Generator().manual_seed(99))
        noise = torch.randn(*y.shape, *size, generator=generator)
        return means[torch.arange(n_episodes)[:, None], y] + 0.5 * noise

    x_s, x_q = inputs(y_s), inputs(y_q)
    backbones = {
        **dict.fromkeys(("gn", "ln"), mixed_backbone),
        **dict.fromkeys(("bn23", "ft-last", "bn-last"), resnet_backbone),
    }
    return (x_s, y_s, x_q) if size == (DIM,) else (backbones.get(name, small_backbone)(), x_s, y_s, x_q)


def resnet_backbone():
    """A network whose layers have the names of a ResNet's."""
    network = CifarResNet(depth=8, width=4)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return freeze_in_place(network, "tiny resnet", "", Preprocessing(SIDE, SIDE), architecture="tiny resnet")


def mixed_backbone():
    """A network with GroupNorm and LayerNorm."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.LayerNorm(72), nn.Linear(72, DIM)
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return freeze_in_place(network, "mixed", "", Preprocessing(SIDE, SIDE), architecture="mixed")


def feature_problem(sizes, dim, seed, *, n_episodes=3, n_query=20):
    """Classes of these sizes, in another order in each episode, and queries of all classes; in float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    y_s = torch.stack([labels[torch.randperm(len(labels), generator=generator)] for _ in range(n_episodes)])
    y_q = torch.randint(len(sizes), (n_episodes, n_query), generator=generator)
    means = 3 + torch.randn(n_episodes, len(sizes), dim, generator=generator, dtype=torch.float64)

    def images(y):
        noise = torch.randn(*y.shape, dim, generator=generator, dtype=torch.float64)
        return means[torch.arange(n_episodes)[:, None], y] + noise

    return images(y_s), y_s, images(y_q)


def adapter_with(name, texts):
    """A mode with settings given as text, as on the command line."""
    return with_texts(name, make_adapter(name), texts)
