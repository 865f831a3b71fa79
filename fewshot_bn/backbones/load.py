"""From a name to a backbone: a frozen network with its weights, and the preprocessing it was trained with.

A backbone is named by a shipped card, by the path of a user's card, or as a network of a library (`resnet50`,
`torchvision:resnet50`; sources.py). `weights` replaces its weights: a file, the name of official weights, or `random`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fewshot_bn.backbones.backbone import Backbone, freeze_in_place
from fewshot_bn.backbones.build import build_network, randomise, swap_channels
from fewshot_bn.backbones.card import ModelCard, shipped_models
from fewshot_bn.backbones.checkpoints import load_strictly, read_checkpoint
from fewshot_bn.backbones.concatenation import SIGN, concatenate
from fewshot_bn.backbones.forms import fitted, forms_of
from fewshot_bn.backbones.keys import KeyRules, tensors_of
from fewshot_bn.backbones.known import better_cards
from fewshot_bn.backbones.sources import SOURCES, all_names, split_name
from fewshot_bn.backbones.suggestion import suggestion
from fewshot_bn.backbones.weights import check_weights, find_weights
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.files.atomic import hash_of
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
    features: int = 0


@plain_torch()
def load_backbone(
    model: str = DEFAULT_MODEL,
    *,
    weights: str | None = None,
    root: Path | None = None,
    device: torch.device | str = "cpu",
    strict: bool = False,
) -> Backbone:
    """Build the backbone `model` on `device`, frozen and in eval mode.

    `root` is the folder of weights (`$FEWSHOT_BN_MODELS` by default). Raises `UsageError` for an unknown model and
    `ModelError` for weights that are absent, unsafe or do not fit. With `strict`, weights other than those a card pins
    are an error instead of a notice. `a+b` puts the features of several backbones side by side.
    """
    names = [model] if Path(model).exists() else model.split(SIGN)
    if len(names) > 1:
        if weights not in (None, RANDOM):
            raise UsageError(f"--weights {weights} with --model {model}: whose are they? name a card for each member")
        members = (load_backbone(name, weights=weights, root=root, device=device, strict=strict) for name in names)
        return concatenate(list(members))
    path = shipped_models().get(model, Path(model))
    found = _from_card(path, weights, root, strict=strict) if path.suffix == ".toml" else _from_library(model, weights)
    backbone = freeze_in_place(
        found.network,
        found.name,
        found.weights,
        found.preprocessing,
        architecture=found.architecture,
        card=found.card,
        notices=found.notices,
    )
    if found.features not in (0, backbone.dim):
        raise ModelError(f"{found.name}: gives {backbone.dim:,} features, its card says {found.features:,}")
    move(backbone.module, device)
    return backbone


def _from_card(path: Path, weights: str | None, root: Path | None, *, strict: bool) -> Loaded:
    card = read_card(path, ModelCard, ModelError)
    network = build_network(card)
    notices: tuple[str, ...] = ()
    if weights == RANDOM:
        randomise(network)
    else:
        file = Path(weights) if weights else find_weights(card, path, root)
        notices = check_weights(card, file, pinned=weights is None, strict=strict)
        _load(network, file, forms_of(card))
        if card.channels == "BGR":
            swap_channels(network, card.name)
    if card.assumed:
        notices = (*notices, f"{card.name}: its card assumes: {card.assumed}")
    how = [card.padding] * bool(card.padding) + [card.channels] * (card.channels != "RGB")
    architecture = " ".join([f"{card.network} {card.arguments} {card.norm_eps}", *how])
    used, sha256 = weights or card.weights, hash_of(path, "sha256").hexdigest()
    return Loaded(network, card.name, used, card.preprocessing, architecture, sha256, notices, card.features)


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
        randomise(network)
    elif weights and (Path(weights).is_file() or Path(weights).suffix or len(Path(weights).parts) > 1):
        _load(network, Path(weights), {"": rules})
    else:
        weights, tensors, preprocessing = source.official_weights(name, weights)
        load_strictly(network, tensors_of(tensors, rules, name), rules.may_lack, where=f"{name} {weights}")
        if hasattr(network, "transform_input"):  # GoogLeNet and Inception, ported from another normalisation
            network.transform_input = True  # type: ignore[assignment]
    return Loaded(network, name, weights, preprocessing, architecture=f"{library}:{name}")


def _load(network: nn.Module, file: Path, forms: Mapping[str, KeyRules]) -> None:
    """Put the weights of `file` into `network` by the first rules that make them fit."""
    content = read_checkpoint(file)
    try:
        found = fitted(content, forms, network.state_dict(), where=str(file))
    except ModelError as problem:
        advice = suggestion(content, network, next(iter(forms.values())).may_lack)
        what = f"; a card with {advice} would make them fit (docs/backbones.md)" if advice else ""
        raise ModelError(f"{problem}{what}{better_cards(content, file)}") from problem
    load_strictly(network, found.tensors, found.rules.may_lack, where=str(file))
