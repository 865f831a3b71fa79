"""How fast and how exact the probes are: all episodes at once against the loop of scikit-learn, in one run.

    python -m benchmarks.timing.probes [--n-episodes 600] [--shots 5 20 50] [--device cuda]

Features are drawn to resemble those of a ResNet after its last ReLU: not negative, with a spectrum that falls off as a
power, and classes that overlap. Contenders, in turn, on the same 5-way episodes with 15 queries per class:
    scikit-learn loop     LogisticRegression(C=1, max_iter=1000) on float32 features, episode by episode; once with the
                          threads that BLAS takes by itself, once with one; on a few episodes, times their share of all
    lr-c1                 the same objective, solved together
    45 values of C        the same along a path from 1e-5 to 1e6, scores of the queries included
    other modes           as they are by default
Seconds are those of calls with features in memory, in chunks as the command takes. "x loop" compares with the first
loop, "x best loop" with the faster of the two. Exactness: the largest difference of a class probability from a float64
reference, scikit-learn's newton-cg at a tolerance of 1e-8, and whether the same class wins wherever the reference's
first two differ by more than 1e-3.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression as Theirs
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing.record import Record, begin
from benchmarks.timing.speed import timed
from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.probes.newton import path, regressions
from fewshot_bn.adapters.probes.span import span
from fewshot_bn.cli.options import run_verb
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.memory import FEATURE_BYTES, MOST_PROBED
from fewshot_bn.host_memory import keep_freed_memory
from fewshot_bn.runtime import choose_device

N_WAY, N_QUERY = 5, 15
N_FACTORS = 128


@dataclass(frozen=True, slots=True)
class Problem:
    """Episodes of features, and how many of them go through a probe at once."""

    z_s: Tensor
    y_s: Tensor
    z_q: Tensor
    chunk: int

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for start in range(0, len(self.z_s), self.chunk):
            yield tuple(values[start : start + self.chunk] for values in (self.z_s, self.y_s, self.z_q))

    def first(self, n: int) -> "Problem":
        return replace(self, z_s=self.z_s[:n], y_s=self.y_s[:n], z_q=self.z_q[:n])


def draw(n_episodes: int, n_support: int, dim: int, device: torch.device) -> Problem:
    """Classes and images differ in 128 factors of falling strength, seen through a fixed random matrix and a ReLU."""
    generator = torch.Generator().manual_seed(n_support)
    strength = torch.arange(1, N_FACTORS + 1) ** -0.6
    view = torch.randn(N_FACTORS, dim, generator=generator) * 0.45
    offset = 0.5 * torch.randn(dim, generator=generator) - 0.2
    classes = 0.5 * torch.randn(n_episodes, N_WAY, 1, N_FACTORS, generator=generator)

    def features(n: int) -> Tensor:
        factors = classes + torch.randn(n_episodes, N_WAY, n, N_FACTORS, generator=generator)
        noise = 0.15 * torch.randn(n_episodes, N_WAY, n, dim, generator=generator)
        return F.relu((strength * factors) @ view + offset + noise).flatten(1, 2).to(device)

    z_s, z_q = features(n_support), features(N_QUERY)
    y_s = torch.arange(N_WAY, device=device).repeat_interleave(n_support).repeat(n_episodes, 1)
    room = FEATURE_BYTES[device.type] // (4 * (z_s[0].numel() + z_q[0].numel()))
    return Problem(z_s, y_s, z_q, max(1, min(MOST_PROBED[device.type], room)))


def sklearn_loop(problem: Problem, **settings: Any) -> np.ndarray:
    """Class probabilities [e q way]."""
    found = []
    for z_s, y_s, z_q in zip(*(x.cpu().numpy() for x in (problem.z_s, problem.y_s, problem.z_q)), strict=True):
        found.append(Theirs(C=1.0, **settings).fit(z_s, y_s).predict_proba(z_q))
    return np.stack(found)


def reference(problem: Problem) -> np.ndarray:
    exact = replace(problem, z_s=problem.z_s.double(), z_q=problem.z_q.double())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end at rounding errors
        return sklearn_loop(exact, solver="newton-cg", tol=1e-8, max_iter=10_000)


def probe(mode: str) -> Callable[[Problem], Tensor]:
    adapter = make_adapter(mode)
    return lambda problem: torch.cat([adapter(*part).logits for part in problem.chunks()])


def whole_path(problem: Problem) -> Tensor:
    """The scores of the queries at the last of 45 values of C; those of all are computed."""
    last, settings = [], LinearEvaluation()
    for z_s, y_s, z_q in problem.chunks():
        space = span(z_s)
        x_q = space.coordinates(z_s, z_q, scaling="raw")
        task = regressions(space, y_s, N_WAY)
        for _, solution in path(task, settings.grid, tolerance=settings.tolerance, max_steps=settings.max_steps):
            theta = solution.theta[:, 0]
            scores = theta[..., :-1] @ x_q + theta[..., -1:]
        last.append(scores.mT)
    return torch.cat(last)


def exactness(found: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    ranked = np.sort(expected, axis=-1)
    clear = ranked[..., -1] - ranked[..., -2] > 1e-3
    same = (found.argmax(-1) == expected.argmax(-1)) | ~clear
    return {"largest difference": float(np.abs(found - expected).max()), "same class": bool(same.all())}


Rows = list[dict[str, Any]]


def measure(n_support: int, args: argparse.Namespace, device: torch.device) -> tuple[Rows, dict[str, Any]]:
    problem = draw(args.n_episodes, n_support, args.dim, device)
    few, share = problem.first(args.n_loop), args.n_episodes / args.n_loop
    modes = [mode for mode, adapter in ADAPTERS.items() if adapter.takes == "features"]
    contenders: dict[str, tuple[Callable[[], Any], float]] = {
        "scikit-learn loop": (lambda: sklearn_loop(few, max_iter=1000), share),
        "scikit-learn loop, 1 thread": (lambda: single_thread(few), share),
        "lr-c1": (lambda: probe("lr-c1")(problem), 1),
        "lr-c1, 45 values of C": (lambda: whole_path(problem), 1),
        **{mode: (lambda mode=mode: probe(mode)(problem), 1) for mode in modes if mode != "lr-c1"},
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, (call, _) in contenders.items():
        if not name.startswith("scikit"):
            call()  # warm up
    for _ in range(args.repetitions):
        for name, (call, factor) in contenders.items():
            seconds[name].append(factor * timed(call, device))
    middle = {name: median(times) for name, times in seconds.items()}
    loop, best = middle["scikit-learn loop"], min(middle[name] for name in middle if name.startswith("scikit"))
    rows = [
        {
            "shots": n_support,
            "name": name,
            "seconds": middle[name],
            "x loop": loop / middle[name],
            "x best loop": best / middle[name],
            "x lr-c1": middle[name] / middle["lr-c1"],
            "all": seconds[name],
        }
        for name in contenders
    ]
    rare = problem.first(args.n_exact)
    expected = reference(rare)
    exact = {
        "lr-c1": exactness(probe("lr-c1")(rare).softmax(-1).cpu().numpy(), expected),
        "scikit-learn loop": exactness(sklearn_loop(rare, max_iter=1000), expected),
    }
    accuracy = float((expected.argmax(-1) == np.arange(N_WAY).repeat(N_QUERY)).mean())
    return rows, {"shots": n_support, "exactness": exact, "accuracy of the reference": accuracy}


def single_thread(problem: Problem) -> np.ndarray:
    with threadpool_limits(1, user_api="blas"):
        return sklearn_loop(problem, max_iter=1000)


def add(record: Record, rows: Rows, facts: dict[str, Any], n_episodes: int) -> None:
    numbers = ("seconds", "x loop", "x best loop", "x lr-c1")
    heads = ["", f"s/{n_episodes} episodes", "x loop", "x best loop", "time / lr-c1's"]
    table = [heads, *([row["name"], *(f"{row[key]:.3g}" for key in numbers)] for row in rows)]
    exact = [
        f"{name}: largest difference of a probability from the reference {found['largest difference']:.1e}, "
        f"the same class {'everywhere' if found['same class'] else 'not everywhere'}"
        for name, found in facts["exactness"].items()
    ]
    accuracy = f"(accuracy of the reference {100 * facts['accuracy of the reference']:.1f} %)"
    record.add(f"{facts['shots']}-shot", table, [*rows, facts], more=f"\n{'; '.join(exact)} {accuracy}.\n")


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 20, 50])
    parser.add_argument("--n-episodes", type=int, default=600)
    parser.add_argument("--n-loop", type=int, default=8, help="episodes of the loop of scikit-learn")
    parser.add_argument("--n-exact", type=int, default=4, help="episodes compared with the reference")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="folder of the record, which must be new")
    args = parser.parse_args(words)
    if min(*args.shots, args.n_episodes, args.n_loop, args.n_exact, args.dim, args.repetitions) < 1:
        parser.error("all numbers must be at least 1")
    keep_freed_memory()
    title, facts = "Speed and exactness of the probes", f"D = {args.dim}; medians of {args.repetitions} repetitions."
    device = choose_device(args.device)
    record = begin("probes", words, args.output, title=title, device=device, facts=facts, doc=__doc__)
    for n_support in args.shots:
        add(record, *measure(n_support, args, device), args.n_episodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
