"""What a checkpoint is of: which known card it fits, else which network, and the draft of a card for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_bn.backbones.build import count_norms
from fewshot_bn.backbones.cards.card import ModelCard
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import entry_of
from fewshot_bn.backbones.libraries.sources import SOURCES
from fewshot_bn.backbones.networks import NETWORKS
from fewshot_bn.backbones.outline import outline
from fewshot_bn.backbones.recognition.known import KnownFit, fitting_cards, known_cards
from fewshot_bn.backbones.recognition.suggestion import Fit, Near, fit_in_order, fits_of, mappings, nearest, orders_of
from fewshot_bn.errors import FewshotError
from fewshot_bn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

FIRST = [
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d"),
]  # of torchvision, those that most files are of
ARGUMENTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "conv4": lambda width: [{"width": width}],
    "cifar_resnet": lambda width: [{"depth": depth, "width": width} for depth in (8, 14, 20, 32, 44, 56, 110)],
    "mobilenet_v1": lambda width: [{"width_mult": width / 32}],
    "torchvision:mobilenet_v2": lambda _: [{"width_mult": m} for m in (0.1, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)],
}  # of networks of several sizes, by the width of their first convolution
AVERAGED = ("ema", "state_dict_ema", "model_ema", "teacher")  # what is evaluated where there are two
FOLLOWING = (
    *("encoder_k", "momentum_encoder", "key_encoder", "momentum_backbone", "backbone_momentum"),
    *("target", "target_network", "target_encoder", "student"),
)
MOST_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network, called with `arguments`, that a checkpoint fits by each of `fits`, the best first."""

    network: str
    arguments: dict[str, Any]
    outline: nn.Module
    fits: tuple[Fit, ...]

    @property
    def label(self) -> str:
        return label(self.network, self.arguments)


@dataclass(frozen=True, slots=True)
class Guess:
    """Known cards that fit, else networks that do, else those that come nearest."""

    cards: tuple[KnownFit, ...]
    candidates: tuple[Candidate, ...]
    nearest: tuple[tuple[str, Near], ...]


def guess(content: Mapping[str, Any], pinned: Sequence[str] = (), file: str = "") -> Guess:
    """Tries names first; only if no network fits by names, the order of shapes.

    Of known cards those called `pinned` come first, then those whose file is called `file`.
    """
    fits = list(fitting_cards(content))
    cards = tuple(sorted(fits, key=lambda fit: (fit.card.name not in pinned, fit.card.weights != file)))
    entries = [tensors for _, tensors in mappings(content)]
    if cards or not any(value.ndim == 4 for tensors in entries for value in tensors.values()):
        return Guess(cards, (), ())
    orders = list(orders_of(content))
    by_order: list[Candidate] = []
    near: list[tuple[str, Near]] = []
    for networks in (_usual_networks(entries), _other_networks()):
        for network, arguments in networks:
            try:
                made = outline(_bare(network, arguments))
            except FewshotError:
                continue
            if named := fits_of(content, made, KeyRules().may_lack):
                return Guess((), (_candidate(network, arguments, made, named),), ())
            found = (fit_in_order(order, made, KeyRules().may_lack) for order in orders)
            if ordered := [fit for fit in found if fit]:
                by_order.append(_candidate(network, arguments, made, ordered))
            of_entries = (nearest(tensors, made) for tensors in entries)
            near.append((label(network, arguments), max(of_entries, key=lambda one: one.share)))
        if by_order:
            return Guess((), tuple(by_order), ())
    best = sorted((one for one in near if one[1].share > 0), key=lambda one: -one[1].share)
    return Guess((), (), tuple(best[:MOST_NEAREST]))


def _candidate(network: str, arguments: dict[str, Any], made: nn.Module, fits: Sequence[Fit]) -> Candidate:
    return Candidate(network, arguments, made, tuple(sorted(fits, key=_preference)))


def label(network: str, arguments: Mapping[str, Any]) -> str:
    """A network as a card names it, with its arguments."""
    given = ", ".join(f"{name} = {value}" for name, value in arguments.items())
    return f"{network} ({given})" if given else network


def draft(guess: Guess, *, name: str, weights: str, sha256: str) -> ModelCard:
    """A card by which the checkpoint is read, with the images of the known card, or the usual ones of its network."""
    if guess.cards:
        known = guess.cards[0]
        found, rules, whose = (
            known.card,
            known.rules,
            f"those of {known.card.name}, as which these weights are laid out",
        )
        features, norms = found.features, found.norms
    else:
        first = guess.candidates[0]
        found, rules, whose = _usual(first), first.fits[0].rules, "the usual ones"
        features, norms = _n_features(first.outline, found.preprocessing.crop_px), count_norms(first.outline)
    return ModelCard(
        name,
        f"{label(found.network, found.arguments)}, trained on TODO",
        found.network,
        found.preprocessing,
        weights,
        sha256,
        arguments=found.arguments,
        norm_eps=found.norm_eps,
        padding=found.padding,
        channels=found.channels,
        keys=rules,
        features=features,
        norms=norms,
        assumed=f"its images are {whose} ({_images(found)})",
    )


def heads(content: Mapping[str, Any], card: ModelCard, left_out: Sequence[str]) -> Iterator[str]:
    """Of what is left out, the linear layers that take the features."""
    entry = entry_of(content, card.keys, card.name)
    for key in left_out:
        value = entry[key]
        if isinstance(value, Tensor) and value.ndim == 2 and card.features in value.shape[-1:]:
            yield f"  {key}: a head on its {card.features:,} features, with {value.shape[0]:,} classes or outputs"


def _images(card: ModelCard) -> str:
    p = card.preprocessing
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (p.mean, p.std))
    return f"{p.resize_px} px cropped to {p.crop_px}, mean {mean}, std {std}; the file does not say"


def _usual_networks(entries: Sequence[Mapping[str, Tensor]]) -> Iterator[tuple[str, dict[str, Any]]]:
    widths = sorted({v.shape[0] for tensors in entries for v in tensors.values() if v.ndim == 4 and v.shape[1] == 3})
    turned = {v.shape[3] for tensors in entries for v in tensors.values() if v.ndim == 4 and v.shape[2] == 3}
    for name in [*(f"torchvision:{name}" for name in FIRST), *NETWORKS]:  # of two with the same names the known one
        yield name, {}
    for name, arguments_of in ARGUMENTS.items():
        for width in [*widths, *sorted(turned - set(widths))]:
            yield from ((name, arguments) for arguments in arguments_of(width))


def _other_networks() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((f"torchvision:{name}", {}) for name in SOURCES["torchvision"].names() if name not in FIRST)


def _bare(network: str, arguments: Mapping[str, Any]) -> ModelCard:
    """A card of a network and no more."""
    library, _, name = network.partition(":")
    images = (
        SOURCES[library].preprocessing(name, None)
        if library in SOURCES
        else Preprocessing(256, 224, interpolation="bilinear")
    )
    return ModelCard(network, network, network, images, weights="", arguments=dict(arguments))


def _usual(candidate: Candidate) -> ModelCard:
    """A card of a network with the sizes of a known card of that network, if there is one, and ImageNet's colours."""
    card = _bare(candidate.network, candidate.arguments)
    known = (known.preprocessing for known in known_cards() if known.network == candidate.network)
    images = next(known, card.preprocessing)
    return replace(card, preprocessing=replace(images, mean=IMAGENET_MEAN, std=IMAGENET_STD))


def _n_features(network: nn.Module, side_px: int) -> int:
    """0 where they cannot be counted without weights, or are more for larger images."""
    counts = {_width(network, side) for side in (side_px, 2 * side_px)} - {0}
    return counts.pop() if len(counts) == 1 else 0


def _width(network: nn.Module, side_px: int) -> int:
    try:
        with torch.no_grad():
            z = network(torch.zeros(2, 3, side_px, side_px, device="meta"))
    except (RuntimeError, NotImplementedError, AssertionError, TypeError):
        return 0
    return int(z.shape[1]) if isinstance(z, Tensor) and z.ndim == 2 else 0


def _preference(fit: Fit) -> int:
    """Averaged weights first, those that only follow others last."""
    parts = [*fit.rules.unwrap.split("."), *fit.rules.prefix.split(".")]
    return 1 + any(part in FOLLOWING for part in parts) - any(part in AVERAGED for part in parts)
