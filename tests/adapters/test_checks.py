"""Each check of the contract lets a right adapter pass and finds the one thing that is wrong with another."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from fewshot_bn.adapters import Fit
from fewshot_bn.adapters.checks import check_own, make_problem
from fewshot_bn.adapters.probes.proto import class_means
from fewshot_bn.errors import UsageError


@dataclass(frozen=True)
class Nearest:
    """Prototypes, with places to go wrong."""

    takes: ClassVar[str] = "features"
    transductive: ClassVar[bool] = False
    k: object = 1

    def __call__(self, z_s, y_s, z_q):
        return fit_of(-torch.cdist(z_q, class_means(z_s, y_s, 3)))


def fit_of(logits):
    steps = torch.zeros(len(logits), dtype=torch.int64)
    return Fit(logits, steps, torch.ones(len(logits), dtype=torch.bool))


@dataclass(frozen=True)
class Tuned:
    """A head on the backbone's features."""

    takes: ClassVar[str] = "images"
    transductive: ClassVar[bool] = False

    def __call__(self, backbone, x_s, y_s, x_q, *, seeds=None, images_at_once=None):
        z_s, z_q = (backbone.features(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (x_s, x_q))
        return Nearest()(z_s, y_s, z_q)


@dataclass
class Loose:
    takes: ClassVar[str] = "features"

    def __call__(self, z_s, y_s, z_q):
        return Nearest()(z_s, y_s, z_q)


@dataclass(frozen=True)
class SaysNothing:
    takes: ClassVar[str] = "features"

    def __call__(self, z_s, y_s, z_q):
        return Nearest()(z_s, y_s, z_q)


@dataclass(frozen=True)
class NoFit(Nearest):
    def __call__(self, z_s, y_s, z_q):
        return Nearest()(z_s, y_s, z_q).logits


@dataclass(frozen=True)
class Sideways(Nearest):
    def __call__(self, z_s, y_s, z_q):
        return fit_of(Nearest()(z_s, y_s, z_q).logits.mT)


@dataclass(frozen=True)
class WrongKinds(Nearest):
    def __call__(self, z_s, y_s, z_q):
        fit = Nearest()(z_s, y_s, z_q)
        return Fit(fit.logits, fit.steps, fit.steps)


@dataclass(frozen=True)
class Drawing(Nearest):
    def __call__(self, z_s, y_s, z_q):
        logits = Nearest()(z_s, y_s, z_q).logits
        return fit_of(logits + torch.rand_like(logits))


@dataclass(frozen=True)
class Drifting(Nearest):
    calls: ClassVar[list] = []

    def __call__(self, z_s, y_s, z_q):
        self.calls.append(1)
        return fit_of(Nearest()(z_s, y_s, z_q).logits * len(self.calls))


@dataclass(frozen=True)
class Writing(Nearest):
    def __call__(self, z_s, y_s, z_q):
        fit = Nearest()(z_s, y_s, z_q)
        z_q.mul_(2)
        return Fit(fit.logits.round(), fit.steps, fit.converged) if z_q.norm() < 0 else fit_of(fit.logits * 0)


@dataclass(frozen=True)
class Training(Tuned):
    def __call__(self, backbone, *arguments, **more):
        fit = Tuned()(backbone, *arguments, **more)
        backbone.module.train()
        backbone.module.eval().requires_grad_(True)
        return fit


@dataclass(frozen=True)
class Mixing(Nearest):
    def __call__(self, z_s, y_s, z_q):
        return Nearest()(z_s - 3 * z_s[:1], y_s, z_q)


@dataclass(frozen=True)
class Transductive(Nearest):
    def __call__(self, z_s, y_s, z_q):
        return Nearest()(z_s, y_s, z_q - z_q.mean(1, keepdim=True))


@dataclass(frozen=True)
class SaysTransductive(Transductive):
    transductive: ClassVar[bool] = True


@dataclass(frozen=True)
class Failing(Nearest):
    def __call__(self, z_s, y_s, z_q):
        return {}["no"]


@pytest.mark.parametrize("adapter", [Nearest(), Tuned(), SaysTransductive()], ids=lambda a: type(a).__name__)
def test_right_ones_pass(adapter):
    check_own("mine", adapter)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (Loose(), "its class is no frozen dataclass"),
        (Nearest(k=(1, 2)), "its setting k is no number or text"),
        (SaysNothing(), "does not say whether it is transductive"),
        (NoFit(), "it answers with a Tensor; a fewshot_bn.Fit is needed"),
        (Sideways(), r"its logits are of shape \[4, 3, 9\]; \[4, 9, 3\] is needed"),
        (
            WrongKinds(),
            "its converged are torch.int64 and its steps torch.int64|Actual value: i64.*Expected type: <class 'Bool",
        ),
        (Drawing(), "it draws from torch's global generator"),
        (Drifting(), "it gives another answer to the same arguments"),
        (Writing(), "it changes its arguments"),
        (Training(), "it leaves the backbone in another mode"),
        (Mixing(), "changes with the other episodes of the batch"),
        (Transductive(), "changes with the other queries, but it says transductive = False"),
        (Failing(), r"mine: fails on a small problem: KeyError: 'no' \(line \d+\)"),
        (object(), "mine: is no adapter"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_wrong_ones_are_found(adapter, message):
    with pytest.raises(UsageError, match=message):
        check_own("mine", adapter)


def test_the_problem_can_be_told_apart():
    """Else a check could pass on noise."""
    problem = make_problem("features")
    y_q = torch.arange(3).repeat_interleave(3)
    assert (Nearest()(problem.x_s, problem.y_s, problem.x_q).logits.argmax(-1) == y_q).all()
