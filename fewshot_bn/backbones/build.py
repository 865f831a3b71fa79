"""From a card to its network, with random weights: built, padded, its epsilons and channels set, and counted."""

import math

from torch import nn

from fewshot_bn import rng
from fewshot_bn.backbones.cards.card import ModelCard
from fewshot_bn.backbones.libraries.sources import SOURCES, split_name
from fewshot_bn.backbones.networks import NETWORKS, built
from fewshot_bn.backbones.norms import NORMS
from fewshot_bn.backbones.padding import pad_same
from fewshot_bn.errors import FewshotError, ModelError, unknown


def build_network(card: ModelCard) -> nn.Module:
    """The network of `card` without its head; its weights are a fixed draw.

    Raises `ModelError` where it cannot be built, or has other norm layers than the card says.
    """
    for kind in card.norms:
        if kind not in NORMS:
            raise ModelError(f"{card.name}: norms: {unknown('kind', kind, NORMS)}")
    network = _of_name(card)
    if card.norm_eps is not None:
        if not 0 < card.norm_eps < math.inf:
            raise ModelError(f"{card.name}: norm_eps is {card.norm_eps}; it must be a finite number above 0")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = card.norm_eps
    if card.padding == "same":
        try:
            pad_same(network)
        except ValueError as problem:
            raise ModelError(f'{card.name}: padding = "same" does not go with {card.network}: {problem}') from problem
    counts = count_norms(network)
    if card.norms and counts != card.norms:
        raise ModelError(f"{card.name}: {card.network} has the norm layers {counts}, its card says {card.norms}")
    return network


def count_norms(network: nn.Module) -> dict[str, int]:
    """How many norm layers of each kind there are, without kinds that it has none of."""
    counts = {kind: sum(isinstance(module, norm.layer) for module in network.modules()) for kind, norm in NORMS.items()}
    return {kind: n for kind, n in counts.items() if n}


def swap_channels(network: nn.Module, name: str) -> None:
    """Make a network that takes images in the order B, G, R take them as R, G, B: its first convolution turns round."""
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    if first is None:
        raise ModelError(f"{name}: channels is BGR, but no convolution takes images of 3 channels")
    first.weight.data.copy_(first.weight.data.flip(1))


def _of_name(card: ModelCard) -> nn.Module:
    library, _, name = card.network.partition(":")
    if card.network in NETWORKS:
        try:
            with rng.torch_state(0, "random weights"):
                network = built(NETWORKS[card.network], card.arguments)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as problem:
            raise ModelError(
                f"{card.name}: {card.network} cannot be built with {card.arguments}: {problem}"
            ) from problem
    elif library in SOURCES:
        try:
            network, _ = SOURCES[library].build(name, card.arguments)
        except FewshotError as problem:
            raise ModelError(f"{card.name}: {problem}") from problem
    else:
        owner, plain = split_name(name or library)
        if owner:
            raise ModelError(f'{card.name}: unknown network {card.network!r}; write network = "{owner}:{plain}"')
        libraries = " or ".join(f"{library}:<name>" for library in SOURCES)
        raise ModelError(f"{card.name}: {unknown('network', card.network, NETWORKS)}, or {libraries}")
    return network


def randomise(network: nn.Module) -> None:
    """A fixed random initialisation, the control of every pretraining: He normal weights, neutral norm layers.

    Source: He et al. 2015, arXiv:1502.01852, section 2.2.
    """
    generator = rng.torch_generator(0, "random weights")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            module.weight.data.mul_(math.sqrt(getattr(module, "groups", 1)))  # fan_out is counted as without groups
            if module.bias is not None:
                nn.init.zeros_(module.bias)
