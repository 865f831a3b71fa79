"""The cards that come with the package, and which of them a checkpoint fits, by its checksum or by its keys."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fewshot_bn.backbones.cards.card import ModelCard, known_cards
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.forms import forms_of, named
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import misfits
from fewshot_bn.backbones.outline import outline
from fewshot_bn.errors import FewshotError, ModelError, some
from fewshot_bn.files.atomic import hash_of


@dataclass(frozen=True, slots=True)
class KnownFit:
    """A card that a checkpoint fits; `form` is "" for its own rules, else the name of those of other files."""

    card: ModelCard
    form: str
    tensors: dict[str, Tensor]

    @property
    def rules(self) -> KeyRules:
        return forms_of(self.card)[self.form]

    @property
    def is_sound(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.tensors.values())


def pinned_by(file: Path) -> list[str]:
    """The cards whose checksum this file has. Raises `OSError`."""
    found = {algorithm: hash_of(file, algorithm).hexdigest() for algorithm in ("sha256", "md5")}
    pins = ((card.name, *card.checksum) for card in known_cards())
    return [name for name, algorithm, needed in pins if needed and found[algorithm].startswith(needed)]


def fitting_cards(content: Mapping[str, Any]) -> Iterator[KnownFit]:
    """The cards whose rules make all names and shapes fit."""
    outlines: dict[str, nn.Module] = {}  # many cards share a network
    for card in known_cards():
        for form, rules in forms_of(card).items():
            with contextlib.suppress(FewshotError):
                yield KnownFit(card, form, _tensors(content, card, rules, outlines))
                break


def better_cards(content: Mapping[str, Any], file: Path) -> str:
    """For the end of a message: which cards fit, and how they are used."""
    names = [fit.card.name for fit in fitting_cards(content) if fit.is_sound]
    use = f"--model {names[0]} --weights {shlex.quote(str(file))}" if names else ""
    return f"; they fit the known card {some(names)}: {use}" if names else ""


def _tensors(
    content: Mapping[str, Any], card: ModelCard, rules: KeyRules, outlines: dict[str, nn.Module]
) -> dict[str, Tensor]:
    """Those of the network. Raises `ModelError` where names and shapes do not fit."""
    n_batch = sum(name.endswith("running_mean") for name in tensors_of(content, rules, card.name))
    if card.norms and not rules.in_order and n_batch != card.norms.get("batch", 0):
        raise ModelError(f"{card.name}: other norm layers")  # before a network is built in vain
    network = f"{card.network} {card.arguments}"
    if network not in outlines:
        outlines[network] = outline(replace(card, norms={}, padding="", norm_eps=None))
    own = outlines[network].state_dict()
    tensors = named(content, rules, own, card.name)
    if any(misfits(own, tensors, rules.may_lack).values()):
        raise ModelError(f"{card.name}: other names or shapes")
    return tensors
