"""What can be set about the fine-tuning of norm layers, and which settings make no sense together."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fewshot_bn.adapters.contract import check_not_negative, check_positive
from fewshot_bn.adapters.norm_tuning.affines import Units, Which
from fewshot_bn.adapters.norm_tuning.views import FIXED_VIEWS, RANDOM_VIEWS, parse_views
from fewshot_bn.errors import UsageError

MOST_STEPS = 10**9
LARGEST_RATE = 1e20  # beyond it, the corrections of Adam would not be numbers


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """Which layers, under which statistics, from which head, with which optimiser, for how long, and what classifies.

    `steps` are gradient steps; `epochs` are passes over the support set, an alternative to `steps`; with neither, the
    network stays as it is. Given as text (`make_adapter`), the one that is named sets the other to 0. A `batch_size` of
    0 is the whole support set. An episode whose mean loss over a pass is at most `stop_loss` takes no further step.
    `scaling` is how the head sees features; `C` is that of the probe which head=lr starts from. Adam takes `momentum`
    as β1, with β2 = 0.999. In relative `units`, `lr_norm` is in units of the pretrained scales, shared among all
    trained values (see affines.py).

    `readout` says what classifies: the trained head, or one or two probes that are solved on the features of the tuned
    network. Class probabilities are averaged over the probes, the image itself and its fixed views by `test_augment`;
    with `average_frozen` also over the tuned network and the pretrained one.
    """

    alternatives: ClassVar[tuple[str, ...]] = ("steps", "epochs")

    norm: Literal["batch", "group", "layer"] = "batch"
    scope: str = "all"
    affines: Which = "both"
    statistics: Literal["frozen", "batch", "converted", "transductive"] = "frozen"
    scaling: Literal["raw", "l2"] = "raw"
    head: Literal["zero", "normal", "proto", "lr"] = "zero"
    head_std: float = 0.01
    C: float = 1.0
    steps: int = 50
    epochs: int = 0
    batch_size: int = 0
    optimiser: Literal["sgd", "adam"] = "sgd"
    units: Units = "absolute"
    lr_norm: float = 0.01
    lr_head: float = 0.01
    momentum: float = 0.9
    dampening: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    label_smoothing: float = 0.0
    augment: str = "none"
    stop_loss: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    readout: Literal["head", "lr", "ridge", "lr+ridge"] = "head"
    test_augment: str = "none"
    average_frozen: bool = False

    def __post_init__(self) -> None:
        check_positive(head_std=self.head_std, C=self.C)
        check_not_negative(
            steps=self.steps, epochs=self.epochs, batch_size=self.batch_size, lr_norm=self.lr_norm, lr_head=self.lr_head
        )
        check_not_negative(weight_decay=self.weight_decay, stop_loss=self.stop_loss)
        for name in ("momentum", "dampening", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        for name in ("steps", "epochs", "batch_size"):
            if getattr(self, name) > MOST_STEPS:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at most {MOST_STEPS:,}")
        for name in ("lr_norm", "lr_head"):
            if getattr(self, name) > LARGEST_RATE:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at most {LARGEST_RATE:g}")
        self._check_together()

    def _check_together(self) -> None:
        if self.steps and self.epochs:
            raise UsageError(f"steps is {self.steps} and epochs is {self.epochs}; only one of them can be above 0")
        if not (self.steps or self.epochs) and self.readout == "head" and self.head in ("zero", "normal"):
            raise UsageError(
                f"steps and epochs are 0, so head={self.head} would never learn anything; set one of them, or take "
                "readout=lr, or start from head=lr or head=proto"
            )
        if self.head == "zero" and not self.lr_head and (self.steps or self.epochs):
            raise UsageError("head=zero with lr_head=0 would never learn anything: no gradient passes a head of zeros")
        if self.average_frozen and self.readout == "head":
            raise UsageError(
                "average_frozen needs a readout other than head: the pretrained network has no head of its own"
            )
        if self.dampening and (self.optimiser == "adam" or not self.momentum):
            raise UsageError("dampening needs optimiser=sgd with a momentum above 0")
        if self.statistics != "frozen" and self.norm != "batch":
            raise UsageError(f"statistics={self.statistics} is a policy of BatchNorm; norm={self.norm} keeps none")
        parse_views(self.augment, RANDOM_VIEWS)
        parse_views(self.test_augment, FIXED_VIEWS)
