"""What can be set about every tuner, whatever it trains, and which settings make no sense together."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fewshot_bn.adapters.contract import check_not_negative, check_positive
from fewshot_bn.adapters.tuning.views import FIXED_VIEWS, RANDOM_VIEWS, parse_views
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting

MOST_STEPS = 10**9
LARGEST_RATE = 1e20  # beyond it, the corrections of Adam would not be numbers
COSINE_SCALE = 10.0  # Li et al. 2022

StatisticsPolicy = Literal["frozen", "batch", "converted", "support", "support+query", "transductive"]
OF_TRAINING_BATCHES = ("batch", "converted", "transductive")
OF_QUERIES = ("support+query", "transductive")


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """Under which statistics, from which head, with which optimiser, for how long, and what classifies.

    Of the `alternatives`, one given as text (`make_adapter`) sets the other to 0.
    """

    alternatives: ClassVar[tuple[str, ...]] = ("steps", "epochs")

    statistics: StatisticsPolicy = setting(
        "frozen",
        "of BatchNorm: frozen, the pretrained; batch, of each training batch, and the running ones follow; converted, "
        "the support set's at the same function, then batch; support, the support set's; support+query, the episode's; "
        "or transductive, batch with queries by their own",
        source="DAFT (converted), Li et al. 2017 (support, support+query)",
    )
    scaling: Literal["raw", "l2"] = setting(
        "raw", "features as the head sees them: raw, as they are; or l2, of unit length", source="study"
    )
    head: Literal["zero", "normal", "proto", "lr", "ncm"] = setting(
        "zero",
        "start of the linear head: zero; normal, random numbers; proto, the class means; or lr, the solution of the "
        "logistic probe; or ncm, none, but cosines to the class means of the support features, times 10",
        source="DAFT (zero), LP-FT (lr), Li et al. 2022 (ncm)",
    )
    head_std: float = setting(0.01, "standard deviation of head=normal", source="Yazdanpanah et al. 2022")
    C: float = setting(1.0, "that of the logistic probe of head=lr", source="study")
    steps: int = setting(50, "gradient steps; naming them sets epochs to 0, and without either nothing is tuned")
    epochs: int = setting(0, "passes over the support set; naming them sets steps to 0", source="study")
    batch_size: int = setting(0, "images of a step, drawn anew in every pass; 0: the whole support set", source="study")
    optimiser: Literal["sgd", "adam", "adamw", "adadelta"] = setting(
        "sgd",
        "sgd; adam, with a β2 of 0.999; adamw, the same with weight decay apart from the gradient; or adadelta",
        source="study",
    )
    lr_head: float = setting(0.01, "learning rate of the head; 0 keeps it fixed", source="study")
    momentum: float = setting(0.9, "of sgd, the β1 of adam, or the ρ of adadelta", source="Yazdanpanah et al. 2022")
    dampening: float = setting(0.0, "share of the gradient that the momentum of sgd leaves out")
    weight_decay: float = setting(0.0, "pull towards 0; in relative units, towards the pretrained values")
    schedule: Literal["cosine", "constant", "steps"] = setting(
        "cosine",
        "of the learning rates: cosine, down to 0; constant; or steps, a tenth after 2/7, 4/7 and 6/7 of the training",
        source="Yazdanpanah et al. 2022 (cosine), Zhang and Bottou 2023 (steps)",
    )
    label_smoothing: float = setting(0.0, "share of the targets that is spread over all classes")
    augment: str = setting(
        "none",
        "random views to train on: none, or any of flip, crop and colour with commas between them",
        source="CD-FSL",
        choices=lambda: ("none", *RANDOM_VIEWS),
    )
    stop_loss: float = setting(0.0, "an episode stops if its mean loss over a pass is at most this")
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "of convolutions and matrix products: float32 or bfloat16; whatever is tuned stays float32"
    )
    readout: Literal["head", "lr", "ridge", "lr+ridge"] = setting(
        "head",
        "what classifies: head, the trained one; lr or ridge, that probe solved on the tuned features; or lr+ridge, "
        "the mean of their class probabilities",
        source="study",
    )
    test_augment: str = setting(
        "none",
        "views that class probabilities are averaged over, beside the image itself: none, or any of flip and centre "
        "(the middle 7/8, enlarged) with a comma between them",
        source="Krizhevsky et al. 2012",
        choices=lambda: ("none", *FIXED_VIEWS),
    )
    average_frozen: bool = setting(
        default=False,
        text="true averages class probabilities over the tuned and the pretrained network as well",
        source="study",
    )
    members: Literal["joint", "two-stage"] = setting(
        "joint",
        "of networks side by side (a+b): joint, tuned together as one network; or two-stage, each by itself, after "
        "which the readout is solved on the features of all, or averages the scores of their heads",
        source="Zhang and Bottou 2023",
        later=True,
    )
    nesterov: bool = setting(default=False, text="true: Nesterov's momentum, of sgd", later=True)

    def __post_init__(self) -> None:
        check_positive(head_std=self.head_std, C=self.C)
        check_not_negative(steps=self.steps, epochs=self.epochs, batch_size=self.batch_size)
        check_not_negative(weight_decay=self.weight_decay, stop_loss=self.stop_loss)
        check_rates(lr_head=self.lr_head)
        check_shares(momentum=self.momentum, dampening=self.dampening, label_smoothing=self.label_smoothing)
        for name in ("steps", "epochs", "batch_size"):
            if getattr(self, name) > MOST_STEPS:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at most {MOST_STEPS:,}")
        self._check_together()

    @property
    def cosine_scale(self) -> float:
        """Factor of the cosines of head=ncm."""
        return COSINE_SCALE

    @property
    def in_one_piece(self) -> bool:
        """Whether a training step needs all images of its batch at once."""
        return self.head == "ncm" or self.statistics in OF_TRAINING_BATCHES

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
        if self.head == "ncm" and self.batch_size:
            raise UsageError(
                f"batch_size is {self.batch_size}; head=ncm takes class means of the images of a step, so it needs all "
                "support images in each: batch_size=0"
            )
        if self.average_frozen and self.readout == "head":
            raise UsageError(
                "average_frozen needs a readout other than head: the pretrained network has no head of its own"
            )
        check_dampening(self.optimiser, self.momentum, self.dampening)
        self.check_nesterov(self.momentum, self.dampening)
        parse_views(self.augment, RANDOM_VIEWS)
        parse_views(self.test_augment, FIXED_VIEWS)

    def check_nesterov(self, momentum: float, dampening: float) -> None:
        """Raise `UsageError` where Nesterov's momentum is asked for and this is none."""
        if self.nesterov and (self.optimiser != "sgd" or not momentum or dampening):
            raise UsageError("nesterov needs optimiser=sgd with a momentum above 0 and a dampening of 0")


def check_rates(**values: float) -> None:
    """Raise `UsageError` for the first that can be no learning rate."""
    check_not_negative(**values)
    for name, value in values.items():
        if value > LARGEST_RATE:
            raise UsageError(f"{name} is {value}; it must be at most {LARGEST_RATE:g}")


def check_shares(**values: float) -> None:
    """Raise `UsageError` for the first that is not at least 0 and below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 0 and below 1")


def check_units(units: str, head: str) -> None:
    """Raise `UsageError` where no rate can be found by what a first step does."""
    if units == "features" and head == "zero":
        raise UsageError("units=features needs a head other than zero: through that, no gradient reaches the network")


def check_dampening(optimiser: str, momentum: float, dampening: float) -> None:
    """Raise `UsageError` where there is no momentum to dampen."""
    if dampening and (optimiser != "sgd" or not momentum):
        raise UsageError("dampening needs optimiser=sgd with a momentum above 0")
