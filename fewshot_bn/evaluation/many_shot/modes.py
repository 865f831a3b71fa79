"""Modes of many-shot work by name: linear evaluation, and tuners with settings for many images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fewshot_bn.adapters import ADAPTERS
from fewshot_bn.adapters.tuning.head_alone import HeadAlone
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.evaluation.many_shot.grid import Points, product
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation

Classifier = LinearEvaluation | Tuning


@dataclass(frozen=True, slots=True)
class ManyShotMode:
    """A classifier with certain settings, and what it is in one line."""

    classifier: Classifier
    title: str


def _tuner(name: str, **changes: Any) -> Tuning:
    """A mode of episodes with other settings."""
    tuner = ADAPTERS[name]
    assert isinstance(tuner, Tuning)  # noqa: S101 - for the type checker
    return replace(tuner, **changes)


def _recipe(name: str) -> Tuning:
    """A mode of episodes that follows docs/recipe.md, in larger batches, and C chosen on validation images."""
    return _tuner(name, batch_size=64, readout="lr")


_SEED_STUDY: dict[str, Any] = {"steps": 0, "batch_size": 16, "head": "normal", "weight_decay": 1e-6}
_TRANSFER = FineTuning(
    statistics="batch",
    head="normal",
    steps=5000,
    batch_size=64,
    lr_body=0.01,
    lr_head=0.01,
    nesterov=True,
    augment="crop,flip",
)

MODES: dict[str, ManyShotMode] = {
    "lr": ManyShotMode(
        LinearEvaluation(),
        "logistic regression on the frozen features, C chosen on validation images (Kornblith et al. 2019)",
    ),
    "head": ManyShotMode(
        HeadAlone(epochs=23, **_SEED_STUDY), "a linear head trained by SGD on the frozen features, for 23 epochs"
    ),
    "bn": ManyShotMode(_recipe("bn"), "the recipe of episodes: BatchNorm scales tuned, then lr on the tuned features"),
    "bn-last": ManyShotMode(_recipe("bn-last"), "the same with the weights of the last stage, too"),
    "bn23": ManyShotMode(
        _tuner("bn23"), "33 BatchNorm layers of ResNet-50 and a head, as published (Yazdanpanah et al. 2022)"
    ),
    "bn-all": ManyShotMode(_tuner("bn-all"), "the same on all BatchNorm layers, without weight decay"),
    "ft": ManyShotMode(
        _TRANSFER, "all weights and a head: 5,000 steps of Nesterov's SGD (Ericsson et al. 2021; Kornblith et al. 2019)"
    ),
    "last": ManyShotMode(replace(_TRANSFER, scope="last"), "the same with the last stage alone"),
    "lp-ft": ManyShotMode(
        _tuner("lp-ft", steps=0, epochs=20, batch_size=64),
        "the solution of lr first, then all weights from it on, at a small rate (Kumar et al. 2022)",
    ),
    "daft": ManyShotMode(
        _tuner("daft", steps=0, epochs=20, batch_size=64),
        "all weights after BatchNorm is converted to the training images, the head far faster (DAFT)",
    ),
    "tsa": ManyShotMode(_recipe("tsa"), "the recipe with a trained 1x1 convolution beside every larger one"),
    "lora": ManyShotMode(_recipe("lora"), "the recipe with low-rank products beside linear layers and convolutions"),
}
CLASSIFIERS: dict[str, Classifier] = {name: mode.classifier for name, mode in MODES.items()}


def _transfer_grid() -> list[dict[str, float]]:
    """Rates, and weight decays that are divided by them: Ericsson et al. 2021, appendix A; Kornblith et al. 2019."""
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    decays = [0.0, 1e-6, 1e-5, 1e-4, 1e-3]
    return [{"lr_body": lr, "lr_head": lr, "weight_decay": decay / lr} for lr in rates for decay in decays]


_IN_TURN = {"lr_head": (0.01, 0.1, 1.0, 10.0), "lr_body": (3e-6, 3e-5, 3e-4, 3e-3)}
GRIDS: dict[str, Sequence[Points]] = {  # by name, for modes with these settings
    "transfer": [_transfer_grid()],
    "in-turn": [product({(name,): values}) for name, values in _IN_TURN.items()],
}
