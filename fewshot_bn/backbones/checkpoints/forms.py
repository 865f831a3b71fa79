"""The forms in which a network is found in files: the first whose rules make a checkpoint fit is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fewshot_bn.backbones.cards.card import ModelCard
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import in_order, tensors_of
from fewshot_bn.backbones.checkpoints.reading import check_fit
from fewshot_bn.errors import ModelError


@dataclass(frozen=True, slots=True)
class Fitted:
    """The tensors of a checkpoint under the names of a network, by the rules of `form` ("": the card's own)."""

    form: str
    rules: KeyRules
    tensors: dict[str, Tensor]


def forms_of(card: ModelCard) -> dict[str, KeyRules]:
    return {"": card.keys, **card.forms}


def fitted(content: Mapping[str, Any], forms: Mapping[str, KeyRules], own: Mapping[str, Tensor], where: str) -> Fitted:
    """Raises the `ModelError` of the first form if the checkpoint has none of them; they are strict, all of them."""
    problems = []
    for form, rules in forms.items():
        try:
            tensors = named(content, rules, own, where)
            check_fit(own, tensors, rules.may_lack, where)
        except ModelError as problem:
            problems.append(problem)
        else:
            return Fitted(form, rules, tensors)
    raise problems[0]


def named(content: Mapping[str, Any], rules: KeyRules, own: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors as `rules` name them, one by one if they say so."""
    tensors = tensors_of(content, rules, where)
    return in_order(tensors, own, rules, where) if rules.in_order else tensors
