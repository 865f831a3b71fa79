"""The verbs of models.py that are about cards: list, show, fetch. Each returns its exit status."""

import shlex
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot_bn.backbones.cards import catalogue
from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.cards.fetching import by_hand, fetch_weights, target_of
from fewshot_bn.backbones.cards.text import text_of
from fewshot_bn.backbones.cards.weights import Checksum, checksum_of, find_weights, place_of
from fewshot_bn.cli.console import Console
from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.events import Progress
from fewshot_bn.files import paths
from fewshot_bn.reports import columns

if TYPE_CHECKING:
    from fewshot_bn.backbones.backbone import Backbone

LICENCE_WIDTH = 24


def list_all(arguments: Namespace) -> int:
    if arguments.markdown:
        print(catalogue.markdown())
        return 0
    root = _root_of(arguments)
    rows = [("name", "network", "features", "norm layers", "licence", f"under {root}")]
    for card, what in catalogue.found(root):
        licence = card.licence if len(card.licence) <= LICENCE_WIDTH else card.licence[: LICENCE_WIDTH - 1] + "…"
        features, norms = catalogue.features_of(card), catalogue.norms_of(card)
        rows.append((card.name, card.network, features, norms, licence, what))
    print(columns(rows))
    if not root.is_dir():
        print(f"\nnote: there is no folder {root}; name another with --model-root or FEWSHOT_BN_MODELS")
    print("\nget one: python -m fewshot_bn.models fetch NAME; any network of torchvision needs no card")
    print("a file of weights of your own: python -m fewshot_bn.models guess FILE")
    return 0


def show(arguments: Namespace) -> int:
    """What is printed is a card: all that is no card is a comment in it."""
    path = card_path(arguments.model)
    card = read_model_card(path)
    place = place_of(card, path, arguments.model_root)
    tuned = list(_scopes(card))
    print(text_of(card))
    print(f"# weights: {place or 'not here; python -m fewshot_bn.models fetch ' + shlex.quote(arguments.model)}")
    for line in tuned:
        print(f"# {line}")
    return 0


def _scopes(card: ModelCard) -> Iterator[str]:
    from fewshot_bn.backbones.norms import NORMS
    from fewshot_bn.reports.scopes import scopes

    backbone = _without_weights(card)
    n_parameters = sum(parameter.numel() for parameter in backbone.module.parameters())
    rows = [("norm layers", "scope", "layers", "values", f"of {n_parameters:,} parameters")]
    for scope in scopes(backbone):
        share = f"{100 * scope.share:.2f} %"
        rows.append((NORMS[scope.kind].title, scope.name, str(scope.n_layers), f"{scope.n_values:,}", share))
    yield from columns(rows).splitlines() if len(rows) > 1 else ["it has no norm layers that could be tuned"]


def _without_weights(card: ModelCard) -> "Backbone":
    """The network of a card as it is before its weights are read, without memory for them where that is possible."""
    import torch

    from fewshot_bn.backbones.backbone import Backbone
    from fewshot_bn.backbones.build import build_network
    from fewshot_bn.backbones.outline import outline

    network, side = outline(card), card.preprocessing.crop_px
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, side, side, device="meta"))
    except (RuntimeError, NotImplementedError, TypeError):  # its code needs numbers
        network = build_network(card).eval()
    return Backbone(card.name, "", network, card.features, card.preprocessing, fingerprint="")


def fetch(arguments: Namespace) -> int:
    path, root = card_path(arguments.model), _root_of(arguments)
    card = read_model_card(path)
    if place_of(card, path, root) is None:
        if not card.url:
            file = shlex.quote(str(target_of(card, root)))
            check = f"python -m fewshot_bn.models check {file} --card {shlex.quote(arguments.model)}"
            print("\n".join([f"{card.name} cannot be fetched without you. By hand:", *by_hand(card, root, check)]))
            return 2
        console = Console(quiet=arguments.quiet)
        with console.shown():
            _draw(fetch_weights(card, root), card, console)
    return _report(arguments, card, path, root)


def _draw(steps: Iterator[Progress], card: ModelCard, console: Console) -> None:
    done = 0
    try:
        for step in steps:
            done = step.done
            console.draw(step)
    except KeyboardInterrupt:
        again = "goes on from there" if card.checksum[1] else "begins anew"
        here = f"stopped: {done:,} bytes of {card.weights} have arrived"
        raise KeyboardInterrupt(f"{here}; the same command {again}") from None


def _report(arguments: Namespace, card: ModelCard, path: Path, root: Path) -> int:
    """Load what is there, and say how it is used. Raises `ModelError` where it does not fit its card."""
    from fewshot_bn.backbones.load import load_backbone

    backbone = load_backbone(str(path), root=root)
    place = find_weights(card, path, root)
    print(f"{card.name}: {place} fits its card: {card.network}, {backbone.dim:,} features")
    for note in _on_checksum(checksum_of(card, place), shlex.quote(arguments.model)):
        print(note)
    if card.note:
        print(f"note: {card.note}")
    where = "" if arguments.model_root is None else f" --model-root {shlex.quote(str(root))}"
    print(f"use it: python -m fewshot_bn.eval --model {shlex.quote(arguments.model)}{where}")
    return 0


def _on_checksum(checksum: Checksum, model: str) -> Iterator[str]:
    """What a person should know where less than a whole checksum is published."""
    pin = f'sha256 = "{checksum.found}"'
    if not checksum.needed:
        yield f"note: not checked: no checksum is published for this file; its SHA-256 is {checksum.found}"
        yield f"to pin it: python -m fewshot_bn.models show {model} > mine.toml, write {pin} into it and use mine.toml"
    elif len(checksum.needed) < len(checksum.found):
        n = len(checksum.needed)
        yield f"note: the first {n} digits of its {checksum.algorithm} agree, of which no more are published"


def card_path(name: str) -> Path:
    """The card of this name or path. Raises `UsageError` where there is none."""
    shipped = shipped_models()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix == ".toml":
        return path
    if path.exists():
        raise UsageError(f"{name}: is no card; the name of a known card or a card (.toml) is needed; guess drafts one")
    raise UsageError(f"{unknown('card', name, shipped)}; list shows all; or give the path of a card (.toml)")


def _root_of(arguments: Namespace) -> Path:
    root: Path = arguments.model_root or paths.model_root()
    return root
