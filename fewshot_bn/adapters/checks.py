"""The contract of adapters as checks: a user's own adapter passes them before it takes part in a run.

Each check is a function of the adapter and a small random problem; it raises `UsageError` that says what was found.
The tests run the same checks over every adapter of the package.

Shapes: as in contract.py, with 4 episodes of 3 classes, 4 support and 3 query images each.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fewshot_bn import rng
from fewshot_bn.adapters.contract import Fit
from fewshot_bn.adapters.own import is_users
from fewshot_bn.backbones.backbone import Backbone, freeze_in_place
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.errors import FewshotError, UsageError
from fewshot_bn.files.own_code import reason_of
from fewshot_bn.preprocessing import Preprocessing

N_EPISODES, N_WAY, N_SUPPORT, N_QUERY, DIM, SIDE = 4, 3, 4, 3, 16, 16
PLAIN = (bool, int, float, str, type(None))
TOLERANCE = 1e-3  # of the largest score: tuners take float32 steps


@dataclass(frozen=True)
class Problem:
    """Inputs for an adapter: x_s, x_q are features or images of classes that can be told apart."""

    x_s: Tensor
    y_s: Tensor
    x_q: Tensor
    backbone: Backbone | None = None

    def solve(self, adapter: Any, part: slice = slice(None), queries: slice = slice(None)) -> Any:
        """The answer for some of the episodes and of their queries, a `Fit` if all is well."""
        x_s, y_s, x_q = self.x_s[part], self.y_s[part], self.x_q[part][:, queries].contiguous()
        if self.backbone is None:
            return adapter(x_s, y_s, x_q)
        return adapter(self.backbone, x_s, y_s, x_q, seeds=list(range(N_EPISODES))[part])

    @cached_property
    def tensors(self) -> list[Tensor]:
        """All that an adapter could write into."""
        return [self.x_s, self.y_s, self.x_q, *(self.backbone.module.state_dict().values() if self.backbone else ())]


def make_problem(takes: str, backbone: Backbone | None = None) -> Problem:
    """For a probe or for a tuner, by default with a small ResNet of random weights."""
    size = (DIM,) if takes == "features" else (3, SIDE, SIDE)
    generator = rng.torch_generator(0, "contract")
    means = torch.randn(N_EPISODES, N_WAY, *size, generator=generator)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(N_WAY).repeat_interleave(n).expand(N_EPISODES, -1).contiguous()
        noise = torch.randn(*y.shape, *size, generator=generator)
        return means[torch.arange(N_EPISODES)[:, None], y] + 0.5 * noise, y

    (x_s, y_s), (x_q, _) = draw(N_SUPPORT), draw(N_QUERY)
    return Problem(x_s, y_s, x_q, None if takes == "features" else backbone or _small_resnet())


def _small_resnet() -> Backbone:
    with rng.torch_state(0, "contract"):
        network = CifarResNet(depth=8, width=4)
    return freeze_in_place(network, "a small ResNet", "random", Preprocessing(SIDE, SIDE), architecture="contract")


def keeps_its_settings(adapter: Any, problem: Problem) -> None:
    """Settings are what tells results apart, so they are the fields of a frozen dataclass."""
    del problem
    parameters = getattr(adapter, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise UsageError("its class is no frozen dataclass; write @dataclass(frozen=True) above it")
    odd = [name for name, value in dataclasses.asdict(adapter).items() if not isinstance(value, PLAIN)]
    if odd:
        raise UsageError(f"its setting {odd[0]} is no number or text, which a result file could hold")
    if not isinstance(getattr(adapter, "transductive", None), bool):
        raise UsageError("its class does not say whether it is transductive; add transductive: ClassVar[bool] = False")


def answers_in_shape(adapter: Any, problem: Problem) -> None:
    """Scores [e q way], steps [e] and converged [e], in a `Fit`."""
    fit = problem.solve(adapter)
    if not isinstance(fit, Fit):
        raise UsageError(f"it answers with a {type(fit).__name__}; a fewshot_bn.Fit is needed")
    wanted = {
        "logits": (N_EPISODES, N_WAY * N_QUERY, N_WAY),
        "steps": (N_EPISODES,),
        "converged": (N_EPISODES,),
    }
    for name, size in wanted.items():
        found = tuple(getattr(fit, name).shape)
        if found != size:
            raise UsageError(f"its {name} are of shape {list(found)}; {list(size)} is needed")
    if fit.converged.dtype != torch.bool or fit.steps.dtype != torch.int64:
        raise UsageError(
            f"its converged are {fit.converged.dtype} and its steps {fit.steps.dtype}; torch.bool and torch.int64 are "
            "needed"
        )


def answers_the_same_again(adapter: Any, problem: Problem) -> None:
    """Chance comes from `seeds`, or from a generator of the adapter's own, never from torch's global one."""
    state = torch.get_rng_state()
    first = problem.solve(adapter).logits
    if not torch.equal(state, torch.get_rng_state()):
        raise UsageError("it draws from torch's global generator; give a torch.Generator of its own to what it draws")
    if not torch.equal(first, problem.solve(adapter).logits):
        raise UsageError("it gives another answer to the same arguments; seed whatever it draws")


def leaves_its_arguments_alone(adapter: Any, problem: Problem) -> None:
    """Images and features belong to others, and so does the backbone, bit for bit."""
    before = [tensor.clone() for tensor in problem.tensors]
    module = problem.backbone.module if problem.backbone else None
    modes = [part.training for part in module.modules()] if module else []
    problem.solve(adapter)
    if not all(map(torch.equal, before, problem.tensors)):
        raise UsageError("it changes its arguments; work on copies")
    if module and (modes != [part.training for part in module.modules()] or _wants_gradients(module)):
        raise UsageError("it leaves the backbone in another mode, or with gradients; work on a copy")


def _wants_gradients(module: torch.nn.Module) -> bool:
    return any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())


def treats_episodes_alone(adapter: Any, problem: Problem) -> None:
    """Which episodes share a batch is chance of the machine, so no episode may see another."""
    together = problem.solve(adapter).logits
    for e in range(N_EPISODES):
        alone = problem.solve(adapter, slice(e, e + 1)).logits[0]
        if not _close(alone, together[e]):
            raise UsageError("the answer for an episode changes with the other episodes of the batch")


def is_inductive_unless_it_says_so(adapter: Any, problem: Problem) -> None:
    """Without `transductive`, no query has a say in how another is classified."""
    if not adapter.transductive:
        some = problem.solve(adapter, queries=slice(2)).logits
        if not _close(some, problem.solve(adapter).logits[:, :2]):
            raise UsageError("its answer for a query changes with the other queries, but it says transductive = False")


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max().clamp_min(1))


Check = Callable[[Any, Problem], None]
CHECKS: Sequence[Check] = (
    keeps_its_settings,
    answers_in_shape,
    answers_the_same_again,
    leaves_its_arguments_alone,
    treats_episodes_alone,
    is_inductive_unless_it_says_so,
)


def check_own(name: str, adapter: Any) -> None:
    """Run all checks on an adapter of the user's own. Raises `UsageError` for the first that it does not pass."""
    if not is_users(adapter):
        return
    takes = getattr(adapter, "takes", None)
    if takes not in ("features", "images") or not callable(adapter):
        raise UsageError(
            f'{name}: is no adapter; a class with takes = "features" or "images" that can be called is needed'
        )
    problem = make_problem(takes)
    for check in CHECKS:
        try:
            check(adapter, problem)
        except FewshotError as found:
            raise UsageError(f"{name}: {found}") from found
        except Exception as found:  # it is the user's code, which may raise anything
            raise UsageError(f"{name}: fails on a small problem: {reason_of(found)}") from found
