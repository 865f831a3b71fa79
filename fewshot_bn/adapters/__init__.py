"""Adapters by name. A new one is its file, a line in `ADAPTERS` and a row in the contract test."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fewshot_bn.adapters.contract import Adapter, Fit, Probe, Tuner
from fewshot_bn.adapters.norm_tuning.adapter import NormTuning
from fewshot_bn.adapters.probes.cosine import CosineHead
from fewshot_bn.adapters.probes.knn import NearestNeighbours
from fewshot_bn.adapters.probes.lda import LinearDiscriminant
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.proto import Prototypes
from fewshot_bn.adapters.probes.ridge import Ridge
from fewshot_bn.adapters.probes.svm import SupportVectorMachine
from fewshot_bn.errors import UsageError, unknown

__all__ = ["ADAPTERS", "Adapter", "Fit", "Probe", "Tuner", "make_adapter", "named", "settings_of", "with_settings"]

Settings = TypeVar("Settings")

_RECIPE = NormTuning(  # docs/recipe.md says how it was found
    affines="scale",
    scaling="l2",
    head="lr",
    C=10.0,
    steps=0,
    epochs=10,
    batch_size=13,
    optimiser="adam",
    units="relative",
    lr_norm=1.0,
    lr_head=0.0,
    readout="lr+ridge",
    test_augment="flip,centre",
)
_PUBLISHED = NormTuning(statistics="batch", head="normal", steps=0, epochs=70, batch_size=16, weight_decay=1e-6)

ADAPTERS: dict[str, Adapter] = {
    "proto": Prototypes(),
    "lr": LogisticRegression(),
    "lr-c1": LogisticRegression(C=1.0, select="fixed", scaling="raw"),  # the published few-shot probe
    "ridge": Ridge(),
    "lda": LinearDiscriminant(),
    "knn": NearestNeighbours(),
    "svm": SupportVectorMachine(),
    "cosine": CosineHead(),
    "bn": _RECIPE,
    "bn-plain": NormTuning(),  # head and affines by plain SGD
    "bn23": replace(_PUBLISHED, scope="bn23"),  # the 33-layer recipe of Yazdanpanah et al. 2022
    "bn-all": replace(_PUBLISHED, weight_decay=0.0),  # an independent implementation of it, all layers
    "bn-cdfsl": NormTuning(  # the fine-tuning of Guo et al. 2020, arXiv:1912.07200, on norm layers
        statistics="batch", head="normal", steps=0, epochs=100, batch_size=4, schedule="constant", momentum=0.0
    ),
    "gn": replace(_RECIPE, norm="group"),
    "ln": replace(_RECIPE, norm="layer"),
}


def make_adapter(name: str, **settings: Any) -> Adapter:
    """The adapter `name` with some settings changed, e.g. `make_adapter("bn", epochs=20)`; the others keep defaults."""
    if name not in ADAPTERS:
        raise unknown("mode", name, ADAPTERS)
    return with_settings(name, ADAPTERS[name], settings)


def named(
    modes: Sequence[str] | Mapping[str, Settings], known: Mapping[str, Settings], kind: str
) -> dict[str, Settings]:
    """Adapters by name: those given, or those that are `known` by the names that are given."""
    if isinstance(modes, Mapping):
        return dict(modes)
    for name in modes:
        if name not in known:
            raise unknown(kind, name, known)
    return {name: known[name] for name in modes}


def with_settings(name: str, default: Settings, settings: Mapping[str, Any]) -> Settings:
    """`default` with some settings changed; of its `alternatives`, those not named become 0."""
    fields = [field.name for field in dataclasses.fields(default)]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in fields:
            raise unknown(f"setting of {name}", setting, fields)
    alternatives: tuple[str, ...] = getattr(default, "alternatives", ())
    others = dict.fromkeys(alternatives, 0) if settings.keys() & set(alternatives) else {}
    try:
        return replace(default, **{**others, **settings})  # type: ignore[type-var]
    except UsageError as problem:
        raise UsageError(f"{name}: {problem}") from problem


def settings_of(adapter: Adapter) -> dict[str, Any]:
    """Every setting of the adapter with its value, defaults included."""
    return dataclasses.asdict(adapter)
