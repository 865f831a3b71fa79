"""From a name to a backbone: a frozen network with its weights, and the preprocessing it was trained with.

A backbone is named by a shipped card, by the path of a user's card, or as a network of a library (`resnet50`,
`torchvision:resnet50`; sources.py). `weights` replaces its weights: a file, the name of official weights, or `random`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fewshot_bn import rng
from fewshot_bn.backbones.backbone import Backbone, freeze_in_place
from fewshot_bn.backbones.card import ModelCard, shipped_models
from fewshot_bn.backbones.checkpoints import KeyRules, load_strictly, read_checkpoint, tensors_of
from fewshot_bn.backbones.networks import NETWORKS, built
from fewshot_bn.backbones.sources import SOURCES, all_names, split_name
from fewshot_bn.backbones.suggestion import suggestion
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.files.atomic import sha256_of
from fewshot_bn.files.cards import read_card
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.runtime import move, plain_torch

RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its weights, and what there is to say of it."""

    network: nn.Module
    name: str
    weights: str
    preprocessing: Preprocessing
    architecture: str
    card: str = ""
    notices: tuple[str, ...] = ()


@plain_torch()
def load_backbone(
    model: str = DEFAULT_MODEL,
    *,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    strict: bool = False,
) -> Backbone:
    """Build the backbone `model` on `device`, frozen and in eval mode.

    Raises `UsageError` for an unknown model and `ModelError` for weights that are absent, unsafe or do not fit. With
    `strict`, weights other than those a card pins are an error instead of a notice.
    """
    path = shipped_models().get(model, Path(model))
    found = _from_card(path, weights) if path.suffix == ".toml" else _from_library(model, weights)
    if strict and found.notices:
        raise ModelError(f"{found.notices[0]}; --strict takes only exactly what the card says")
    backbone = freeze_in_place(
        found.network,
        found.name,
        found.weights,
        found.preprocessing,
        architecture=found.architecture,
        card=found.card,
        notices=found.notices,
    )
    move(backbone.module, device)
    return backbone


def _from_card(path: Path, weights: str | None) -> Loaded:
    card = read_card(path, ModelCard, ModelError)
    network = _build(card)
    notices: tuple[str, ...] = ()
    if weights == RANDOM:
        _randomise(network)
    else:
        file = Path(weights) if weights else path.parent / card.weights
        notices = _check_file(card, file, pinned=weights is None)
        _load(network, file, card.keys)
    architecture = f"{card.network} {card.arguments} {card.norm_eps}"
    used = weights or card.weights
    return Loaded(network, card.name, used, card.preprocessing, architecture, sha256_of(path), notices)


def _check_file(card: ModelCard, file: Path, *, pinned: bool) -> tuple[str, ...]:
    """What is to be said of a weights file. Raises `ModelError` where it is absent or not the one that is pinned."""
    if not file.is_file():
        where = f" (from {card.source})" if card.source else ""
        raise ModelError(f"{card.name}: no weights file {file}; get it{where} or name it with --weights")
    sha256 = sha256_of(file)
    if sha256 == card.sha256.lower():
        return ()
    found = f"{card.name}: {file} has SHA-256 {sha256[:12]}…, the card pins {card.sha256[:12]}…"
    if pinned:
        raise ModelError(f"{found}: damaged or changed; get it again")
    return (f"{found}: these are other weights than the card's",)


def _from_library(model: str, weights: str | None) -> Loaded:
    library, name = split_name(model)
    source = SOURCES.get(library)
    if source is None or name not in source.names():
        if Path(name).is_file():
            raise UsageError(
                f"--model {name} is no card (.toml); name a network or a card, and these weights with --weights"
            )
        known = [*shipped_models(), *all_names()]
        raise UsageError(f"{unknown('model', name, known)}, or give the path of a card (.toml)")
    network, head = source.build(name, {})
    preprocessing = source.preprocessing(name)
    rules = KeyRules(drop=(f"{head}.*",))
    if weights == RANDOM:
        _randomise(network)
    elif weights and (Path(weights).is_file() or Path(weights).suffix or len(Path(weights).parts) > 1):
        _load(network, Path(weights), rules)
    else:
        weights, tensors, preprocessing = source.official_weights(name, weights)
        load_strictly(network, tensors_of(tensors, rules, name), rules.may_lack, where=f"{name} {weights}")
        if hasattr(network, "transform_input"):  # GoogLeNet and Inception, ported from another normalisation
            network.transform_input = True  # type: ignore[assignment]
    return Loaded(network, name, weights, preprocessing, architecture=f"{library}:{name}")


def _build(card: ModelCard) -> nn.Module:
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
        network, _ = SOURCES[library].build(name, card.arguments)
    else:
        libraries = " or ".join(f"{library}:<name>" for library in SOURCES)
        raise ModelError(f"{card.name}: {unknown('network', card.network, NETWORKS)}, or {libraries}")
    if card.norm_eps is not None:
        if not 0 < card.norm_eps < math.inf:
            raise ModelError(f"{card.name}: norm_eps is {card.norm_eps}; it must be a finite number above 0")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = card.norm_eps
    return network


def _load(network: nn.Module, file: Path, rules: KeyRules) -> None:
    content = read_checkpoint(file)
    try:
        load_strictly(network, tensors_of(content, rules, where=str(file)), rules.may_lack, where=str(file))
    except ModelError as problem:
        if advice := suggestion(content, network, rules.may_lack):
            raise ModelError(f"{problem}; a card with {advice} would make them fit (docs/backbones.md)") from problem
        raise


def _randomise(network: nn.Module) -> None:
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
