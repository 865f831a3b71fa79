"""Weights written anew, as safetensors under the names of their network, and a card for them without rules for keys."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from fewshot_bn.backbones.cards.card import ModelCard
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.cards.text import text_of
from fewshot_bn.backbones.checkpoints.forms import fitted, forms_of
from fewshot_bn.backbones.checkpoints.keys import entry_of, with_origins
from fewshot_bn.backbones.checkpoints.writing import write_whole
from fewshot_bn.backbones.outline import outline
from fewshot_bn.files.atomic import sha256_of


@dataclass(frozen=True, slots=True)
class Converted:
    """The tensors by their new names, with the name that each had, the keys that were left out, and what is lacking."""

    form: str
    rules: KeyRules
    tensors: dict[str, Tensor]
    origins: dict[str, str]
    left_out: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def renamed(self) -> dict[str, str]:
        return {old: new for new, old in self.origins.items() if old != new}


def converted(content: Mapping[str, Any], card: ModelCard, where: str) -> Converted:
    """By the first form of the card that fits. Raises `ModelError` if none does."""
    own = outline(card).state_dict()
    found = fitted(content, forms_of(card), own, where)
    used = [key for key, _ in with_origins(content, found.rules, where).values()]
    entry = entry_of(content, found.rules, where)
    return Converted(
        found.form,
        found.rules,
        found.tensors,
        origins=dict(zip(found.tensors, used, strict=True)),
        left_out=tuple(key for key in entry if key not in set(used)),
        lacking=tuple(name for name in own if name not in found.tensors),
    )


def write(found: Converted, card: ModelCard, source: Path, output: Path) -> Path:
    """The file `output`, whole or not at all, and beside it a card, whose path is returned. Raises `ModelError`."""
    facts = {"source_file": source.name, "source_sha256": sha256_of(source), "card": card.name, "form": found.form}
    tensors = {name: value.detach().clone().contiguous() for name, value in found.tensors.items()}
    write_whole(output, lambda file: save_file(tensors, file, metadata=facts))
    needed = any(not fnmatchcase(name, pattern) for name in found.lacking for pattern in KeyRules().may_lack)
    plain = replace(
        card,
        weights=output.name,
        sha256=sha256_of(output),
        md5="",
        url="",
        get="",
        keys=KeyRules(may_lack=found.rules.may_lack) if needed else KeyRules(),
        forms={},
    )
    path = output.with_suffix(".toml")
    note = f"The weights of {source.name}, SHA-256 {facts['source_sha256']}, under the names of the network."
    text = text_of(plain, {"name": note}).encode()
    write_whole(path, lambda file: file.write_bytes(text))
    return path
