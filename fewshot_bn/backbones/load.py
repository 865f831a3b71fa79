"""From a name to a backbone: a frozen network with its weights, and the preprocessing it was trained with.

A backbone is named by a shipped card, by the path of a user's card, as a network of a library (`resnet50`,
`torchvision:resnet50`, `timm:resnet18`; sources.py), or by the user's own code (`module:factory`, `file.py:factory`).
`weights` replaces its weights: a file, the name of official weights, or `random`; so does `NAME@WEIGHTS`.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewshot_bn.backbones.backbone import RANDOM, Backbone, Loaded, freeze_in_place
from fewshot_bn.backbones.build import build_network, randomise, swap_channels
from fewshot_bn.backbones.cards.card import read_model_card, shipped_models
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.cards.weights import check_weights, find_weights
from fewshot_bn.backbones.checkpoints.forms import Fitted, fitted, forms_of
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import fill, load_strictly, read_checkpoint
from fewshot_bn.backbones.concatenation import SIGN, concatenate
from fewshot_bn.backbones.libraries.sources import SOURCES, Library, all_names, split_name, split_weights
from fewshot_bn.backbones.named_preprocessing import preprocessing_of
from fewshot_bn.backbones.own import from_code, from_module
from fewshot_bn.backbones.recognition.known import better_cards
from fewshot_bn.backbones.recognition.suggestion import hindrance, suggestion
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.files.atomic import sha256_of
from fewshot_bn.files.own_code import can_be_imported, is_own, names_module
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.runtime import move, plain_torch


@plain_torch()
def load_backbone(
    model: object = DEFAULT_MODEL,
    *,
    weights: str | Path | None = None,
    preprocessing: object = None,
    name: str = "",
    root: Path | None = None,
    device: torch.device | str = "cpu",
    strict: bool = False,
) -> Backbone:
    """Build the backbone `model` on `device`, frozen and in eval mode.

    `model` is a name or a path, or an `nn.Module` that gives features [b d] of images [b 3 h w]; of that it is a copy.
    `a+b` puts the features of several backbones side by side. The backbone is called `name`, if that is given.
    `preprocessing` replaces its own: a `Preprocessing`, a dict of its fields, or a text as named_preprocessing.py says.
    `root` is the folder of weights (`$FEWSHOT_BN_MODELS` by default).

    Raises `UsageError` for an unknown model and `ModelError` for weights that are absent, unsafe or do not fit. With
    `strict`, weights other than those a card pins are an error instead of a notice.
    """
    names = member_names(model) if isinstance(model, str) else [model]
    if len(names) > 1:
        if weights not in (None, RANDOM):
            raise UsageError(f"--weights {weights} with --model {model}: whose are they? name a card for each member")
        options: Any = {"weights": weights, "preprocessing": preprocessing, "root": root, "device": device}
        whole = concatenate([load_backbone(one, **options, strict=strict) for one in names])
        return replace(whole, name=name or whole.name)
    found = _load_one(model, weights=weights, preprocessing=preprocessing, root=root, strict=strict)
    backbone = freeze_in_place(
        found.network,
        name or found.name,
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


def member_names(model: str) -> list[str]:
    """The names in `a+b`. A path that is there may hold a plus, as in `a+b/nets.py:make+moco-v2`.

    Raises `UsageError` where nothing stands before or after a plus.
    """
    parts, names = model.split(SIGN), []
    while parts:
        n = next((n for n in range(len(parts), 1, -1) if _is_path(SIGN.join(parts[:n]))), 1)
        names.append(SIGN.join(parts[:n]))
        parts = parts[n:]
    if len(names) > 1 and "" in names:
        raise UsageError(f"--model {model}: a name is missing before or after a {SIGN}, as in a{SIGN}b")
    return names


def _is_path(model: str) -> bool:
    text, _ = split_weights(model, None)
    place, _, factory = text.rpartition(":") if is_own(text) else (text, "", "make")
    return factory.isidentifier() and os.path.exists(place)  # noqa: PTH110 - it takes names of any length


def _load_one(
    model: object,
    *,
    weights: str | Path | None = None,
    preprocessing: object = None,
    root: Path | None = None,
    strict: bool = False,
) -> Loaded:
    """The network that `model` names, with its weights, as `load_backbone` takes them."""
    weights = None if weights is None else str(weights)
    if isinstance(model, nn.Module):
        return from_module(model, type(model).__name__, weights, preprocessing=preprocessing, load=_load_own)
    if not isinstance(model, str | Path):
        raise UsageError(f"model is a {type(model).__name__}; a name, a path or an nn.Module is needed")
    text, weights = split_weights(str(model), weights)
    path = shipped_models().get(text, Path(text))
    if path.suffix == ".toml":
        return _from_card(path, weights, root, preprocessing, strict=strict)
    if is_own(text) or (names_module(text) and not split_name(text)[0]):
        if not is_own(text) and not can_be_imported(text):
            known = unknown("library", text.partition(":")[0], SOURCES)
            raise UsageError(f"{text}: {known}; or name a module that is installed or lies in this folder")
        return from_code(text, weights, preprocessing, _load_own)
    return _from_library(text, weights, preprocessing)


def _from_card(path: Path, weights: str | None, root: Path | None, preprocessing: object, *, strict: bool) -> Loaded:
    card = read_model_card(path)
    prepared = preprocessing_of(preprocessing, lambda: card.preprocessing)
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
    if card.assumed and preprocessing is None:
        notices = (*notices, f"{card.name}: its card assumes: {card.assumed}")
    how = [card.padding] * bool(card.padding) + [card.channels] * (card.channels != "RGB")
    architecture = " ".join([f"{card.network} {card.arguments} {card.norm_eps}", *how])
    used, sha256 = weights or card.weights, sha256_of(path)
    features = card.features if prepared.crop_px == card.preprocessing.crop_px else 0  # some grow with the image
    return Loaded(network, card.name, used, prepared, architecture, sha256, notices, features)


def _from_library(model: str, weights: str | None, preprocessing: object) -> Loaded:
    library, name = split_name(model)
    if not library:
        raise _unknown(model)
    source = SOURCES[library]
    if "@" in name and name not in source.names():
        raise UsageError(f"--model {model}: a name of weights goes after the @; name a file with --weights")
    if name not in source.names():
        raise unknown(f"{library} network", name, source.names())
    name, weights = source.named(name, weights)
    network, heads = source.build(name, {})
    rules = KeyRules(drop=tuple(f"{head}.*" for head in heads))
    official: str | None = None
    notices: tuple[str, ...] = ()
    if weights == RANDOM:
        randomise(network)
    elif weights and (Path(weights).is_file() or Path(weights).suffix or len(Path(weights).parts) > 1):
        notices = _load(network, Path(weights), {"": rules}, source)
    else:
        weights, tensors = source.official_weights(name, weights)
        official = weights
        load_strictly(network, tensors_of(tensors, rules, name), rules.may_lack, where=f"{name} {weights}")
        if hasattr(network, "transform_input"):  # GoogLeNet and Inception, ported from another normalisation
            network.transform_input = True  # type: ignore[assignment]
    prepared = preprocessing_of(preprocessing, lambda: source.preprocessing(name, official))
    shown = f"{library}:{name.partition('.')[0]}" if source.needs_prefix else name
    return Loaded(network, shown, weights, prepared, architecture=f"{library}:{name}", notices=notices)


def _unknown(model: str) -> UsageError:
    if Path(model).is_file():
        return UsageError(
            f"--model {model} is no card (.toml); name a network or a card, and these weights with --weights"
        )
    known = [*shipped_models(), *all_names()]
    return UsageError(
        f"{unknown('model', model, known)}, timm:NAME, module:factory, or give the path of a card (.toml)"
    )


def _load(
    network: nn.Module, file: Path, forms: Mapping[str, KeyRules], source: Library | None = None
) -> tuple[str, ...]:
    """Put the weights of `file` into `network` by the first rules that make them fit; what is to be said of it.

    Weights that fit by none are tried as `source`, the library of the network, converts them.
    """
    content = read_checkpoint(file)
    notices: tuple[str, ...] = ()
    try:
        found = fitted(content, forms, network.state_dict(), where=str(file))
    except ModelError as problem:
        converted = _converted(content, network, forms, source) if source else None
        if source is None or converted is None:
            advice = suggestion(content, network, next(iter(forms.values())).may_lack)
            fits = f"; a card with {advice} would make them fit (docs/cards.md)"
            what = fits if advice else hindrance(content, network)
            raise ModelError(f"{problem}{what}{better_cards(content, file)}") from problem
        found = converted
        notices = (f"{file}: does not fit the network as it is, but does once {source.converts} has converted it",)
    fill(network, found.tensors)
    return notices


def _converted(
    content: Mapping[str, Any], network: nn.Module, forms: Mapping[str, KeyRules], source: Library
) -> Fitted | None:
    converted = source.converted(content, network)
    with contextlib.suppress(ModelError):
        return None if converted is None else fitted(converted, forms, network.state_dict(), where=source.converts)
    return None


def _load_own(network: nn.Module, file: Path) -> None:
    """Put a file into a network of the user's. Raises `ModelError`, which says which part of the file would fit."""
    content, rules = read_checkpoint(file), KeyRules()
    try:
        load_strictly(network, tensors_of(content, rules, str(file)), rules.may_lack, where=str(file))
    except ModelError as problem:
        advice = suggestion(content, network, rules.may_lack)
        part = f"the part that fits ({advice} in the words of docs/cards.md)" if advice else "what fits"
        how = f"a network of your own takes its own state_dict only; load {part} where it is built"
        raise ModelError(f"{problem}; {how}") from problem
