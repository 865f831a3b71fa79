"""Adapters by name. A new one is its file and an entry of `MODES`; the contract tests then run over it."""

import dataclasses
import numbers
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fewshot_bn.adapters.contract import Adapter, Fit, Probe, Tuner
from fewshot_bn.adapters.probes.cosine import CosineHead
from fewshot_bn.adapters.probes.knn import NearestNeighbours
from fewshot_bn.adapters.probes.label_propagation import LabelPropagation
from fewshot_bn.adapters.probes.laplacian import LaplacianAssignment
from fewshot_bn.adapters.probes.lda import LinearDiscriminant
from fewshot_bn.adapters.probes.lr import LogisticRegression
from fewshot_bn.adapters.probes.proto import Prototypes
from fewshot_bn.adapters.probes.ridge import Ridge
from fewshot_bn.adapters.probes.soft_kmeans import SoftKMeans
from fewshot_bn.adapters.probes.svm import SupportVectorMachine
from fewshot_bn.adapters.tuning.low_rank import LowRank
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.residual_adapters import ResidualAdapters
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.settings import told

__all__ = [
    "ADAPTERS",
    "MODES",
    "Adapter",
    "Fit",
    "Probe",
    "Tuner",
    "make_adapter",
    "named",
    "settings_of",
    "with_settings",
]

Settings = TypeVar("Settings")

_RECIPE: dict[str, Any] = {  # docs/recipe.md says how it was found
    "scaling": "l2",
    "head": "lr",
    "C": 10.0,
    "steps": 0,
    "epochs": 10,
    "batch_size": 13,
    "optimiser": "adam",
    "lr_head": 0.0,
    "readout": "lr+ridge",
    "test_augment": "flip,centre",
}
_NORM_TUNING = NormTuning(affines="scale", units="relative", lr_norm=1.0, **_RECIPE)
_FINE_TUNING = FineTuning(units="features", lr_body=0.6, **_RECIPE)  # docs/methods.md: this rate and those below
_RESIDUAL_ADAPTERS = ResidualAdapters(units="features", lr_alpha=1.0, beta=False, **_RECIPE)
_LOW_RANK = LowRank(units="features", lr_factors=0.15, **_RECIPE)
_PUBLISHED = NormTuning(statistics="batch", head="normal", steps=0, epochs=70, batch_size=16, weight_decay=1e-6)
_ADABN = NormTuning(statistics="support", steps=0, readout="lr")


@dataclass(frozen=True, slots=True)
class Mode:
    """An adapter with certain settings, and what it is in one line."""

    adapter: Adapter
    title: str


MODES: dict[str, Mode] = {
    "proto": Mode(Prototypes(), "nearest class mean of the frozen features (Snell et al. 2017)"),
    "lr": Mode(
        LogisticRegression(),
        "logistic regression on the frozen features, solved to the optimum; C chosen within the support set",
    ),
    "lr-c1": Mode(
        LogisticRegression(C=1.0, select="fixed", scaling="raw"),
        "the same as published for few-shot work, with C = 1 on raw features",
    ),
    "ridge": Mode(Ridge(), "ridge regression on the frozen features to one-hot targets, in closed form (Allen 1974)"),
    "lda": Mode(
        LinearDiscriminant(), "linear discriminant analysis with a shared covariance, shrunk (Ledoit and Wolf 2004)"
    ),
    "knn": Mode(NearestNeighbours(), "nearest neighbours among the frozen features (Cover and Hart 1967)"),
    "svm": Mode(SupportVectorMachine(), "scikit-learn's linear support vector machine (Chang and Lin 2011)"),
    "cosine": Mode(
        CosineHead(), "cosine classifier trained by SGD (Chen et al. 2019), as long as in CD-FSL (Guo et al. 2020)"
    ),
    "soft-kmeans": Mode(
        SoftKMeans(), "transductive: class means refined by the queries of the episode (Ren et al. 2018)"
    ),
    "label-propagation": Mode(
        LabelPropagation(),
        "transductive: labels spread over a graph of nearest neighbours among all images of the episode "
        "(Zhou et al. 2004)",
    ),
    "laplacian": Mode(
        LaplacianAssignment(),
        "transductive: nearest class mean, with queries that are neighbours drawn to one class (Ziko et al. 2020)",
    ),
    "bn": Mode(
        _NORM_TUNING,
        "BatchNorm scales tuned under the solution of lr; then lr and ridge solved anew, averaged over views",
    ),
    "bn-plain": Mode(
        NormTuning(),
        "BatchNorm scales and shifts and a linear head, tuned together by full-support steps of plain SGD",
    ),
    "bn23": Mode(
        replace(_PUBLISHED, scope="bn23"),
        "the recipe for 33 of the 53 BatchNorm layers of ResNet-50, as published (Yazdanpanah et al. 2022)",
    ),
    "bn-all": Mode(
        replace(_PUBLISHED, weight_decay=0.0),
        "the same on all BatchNorm layers, without weight decay, as in an independent implementation",
    ),
    "bn-cdfsl": Mode(
        NormTuning(
            statistics="batch", head="normal", steps=0, epochs=100, batch_size=4, schedule="constant", momentum=0.0
        ),
        "all BatchNorm layers, tuned with the length and batches of CD-FSL's fine-tuning (Guo et al. 2020)",
    ),
    "adabn": Mode(_ADABN, "lr, but BatchNorm normalises with statistics of the support set (AdaBN; Li et al. 2017)"),
    "adabn-query": Mode(
        replace(_ADABN, statistics="support+query"),
        "transductive: the same, with statistics of support set and queries together",
    ),
    "ft": Mode(_FINE_TUNING, "the recipe of bn with all weights moving, at a rate that says how far features move"),
    "ft-last": Mode(replace(_FINE_TUNING, scope="last"), "the same with the weights of the last stage alone"),
    "bn-last": Mode(
        replace(_FINE_TUNING, scope="last,scales"),
        "the same with the weights of the last stage and the scales of all norm layers",
    ),
    "ft-plain": Mode(FineTuning(), "all weights and a linear head, fine-tuned together by full-support steps of SGD"),
    "ft-cdfsl": Mode(
        FineTuning(
            statistics="batch",
            head="normal",
            steps=0,
            epochs=100,
            batch_size=4,
            schedule="constant",
            lr_body=0.01,
            momentum=0.0,
            momentum_head=0.9,
            dampening_head=0.9,
            weight_decay_head=0.001,
        ),
        "all weights, as fine-tuned in CD-FSL (Guo et al. 2020)",
    ),
    "lp-ft": Mode(
        FineTuning(head="lr", lr_body=1e-4, lr_head=1e-4),
        "logistic regression first, then all weights from its solution on, at a small rate (Kumar et al. 2022)",
    ),
    "daft": Mode(
        FineTuning(statistics="converted", lr_body=1e-4, lr_head=1.0),
        "all weights after BatchNorm is converted to the support set, the head far faster than the body (DAFT)",
    ),
    "bias": Mode(FineTuning(scope="bias", lr_body=0.01), "every bias and shift, and a linear head"),
    "bitfit": Mode(
        FineTuning(scope="bias", optimiser="adamw", schedule="constant", lr_body=1e-3, lr_head=1e-3),
        "every bias and shift by Adam at a constant rate (Ben Zaken et al. 2022)",
    ),
    "tsa": Mode(
        _RESIDUAL_ADAPTERS, "the recipe of bn with a trained 1x1 convolution beside every larger one (Li et al. 2022)"
    ),
    "tsa-ncm": Mode(
        ResidualAdapters(head="ncm", steps=40, optimiser="adadelta", schedule="constant"),
        "the same and a linear map of the features, under the nearest class mean, as published",
    ),
    "lora": Mode(
        _LOW_RANK,
        "the recipe of bn with low-rank products beside linear layers and convolutions (Hu et al. 2021)",
    ),
    "gn": Mode(
        replace(_NORM_TUNING, norm="group"), "the recipe of bn on the GroupNorm layers of networks that have those"
    ),
    "ln": Mode(
        replace(_NORM_TUNING, norm="layer"),
        "the recipe of bn on the LayerNorm layers of networks that have those, such as ConvNeXt and ViT",
    ),
}
KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
ADAPTERS: dict[str, Adapter] = {name: mode.adapter for name, mode in MODES.items()}


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
    settings = _checked(name, default, settings)
    alternatives: tuple[str, ...] = getattr(default, "alternatives", ())
    others = dict.fromkeys(alternatives, 0) if settings.keys() & set(alternatives) else {}
    try:
        return replace(default, **{**others, **settings})  # type: ignore[type-var]
    except UsageError as problem:
        raise UsageError(f"{name}: {problem}") from problem


def _checked(name: str, default: Settings, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain values. Raises `UsageError` for a value of another kind than that of its field."""
    hints = typing.get_type_hints(type(default))
    found = {}
    for setting, value in settings.items():
        where, hint = f"{name}.{setting}", hints[setting]
        if typing.get_origin(hint) is typing.Literal:
            if value not in typing.get_args(hint):
                raise unknown(f"value of {where}", str(value), typing.get_args(hint))
        elif hint in KINDS:
            kind, words = KINDS[hint]
            if not isinstance(value, kind) or (hint is not bool and isinstance(value, bool)):
                raise UsageError(f"{where} is {value!r}; {words} is needed")
            value = hint(value)  # noqa: PLW2901 - numpy's numbers as Python's
        found[setting] = value
    return found


def settings_of(adapter: Adapter) -> dict[str, Any]:
    """Every setting of the adapter with its value, defaults included; one that was added later only where it is set."""
    return told(adapter)
