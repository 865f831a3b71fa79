"""From results to the values of a table, for whoever writes it down: text, Markdown, a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """A result in a table. `estimates` are of the metrics that are asked for, by name.

    `differences` in these are to the result of the baseline on the same episodes; empty without one. `metrics` are
    those of every table, pooled over all episodes; None where a result is too old to tell. `n_support` is None if each
    episode has its own, and `episodes` says in words how episodes or classes vary, "" if they do not.
    """

    mode: str
    n_support: int | None
    estimates: Mapping[str, Estimate]
    is_baseline: bool
    differences: Mapping[str, Estimate]
    metrics: Mapping[str, float | None]
    seconds_per_episode: float
    transductive: bool
    n_episodes: int
    n_not_converged: int
    episodes: str = ""


def rows_of(results: Sequence[Result], baseline: str | None, metrics: Sequence[str] = ("accuracy",)) -> list[Row]:
    """One row per result, in their order. Raises `ResultError` where one lacks any of `metrics`."""
    baselines = {_shape(result): result for result in results if result.mode == baseline}
    return [_row(result, baselines.get(_shape(result)), metrics) for result in results]


def always(metrics: Sequence[str]) -> list[str]:
    """What every table shows, beside `metrics`."""
    return [name for name, metric in metrics_of("episodes").items() if metric.always and name not in metrics]


def _row(result: Result, baseline: Result | None, metrics: Sequence[str]) -> Row:
    others = [baseline] if baseline is not None and baseline is not result else []
    return Row(
        mode=result.mode,
        n_support=result.shape.get("n_support"),
        estimates={name: result.estimate(name) for name in metrics},
        is_baseline=baseline is result,
        differences={name: result.difference_to(other, name) for other in others for name in metrics},
        metrics={name: result.pooled(name) for name in always(metrics)},
        seconds_per_episode=result.seconds_per_episode,
        transductive=result.key["adapter"]["transductive"],
        n_episodes=len(result),
        n_not_converged=result.converged.count(False),
        episodes=_variety(result) if result.varies else "",
    )


def _variety(result: Result) -> str:
    """How the classes or episodes of a result vary in their numbers of images."""
    drawn, counts = result.key["episodes"], {role: result.by_class(role) for role in ("support", "query")}
    per_class = {role: range_of(n for episode in counts[role] for n in episode) for role in counts}
    per_episode = {role: range_of(sum(episode) for episode in counts[role]) for role in counts}
    support = f"{per_class['support']} support images a class ({per_episode['support']} an episode)"
    queries = f"{per_class['query']} queries a class ({per_episode['query']} an episode)"
    ways = f"{range_of(map(len, counts['query']))} classes"
    how = [drawn["kind"]] if drawn["kind"] != "random" else []
    how += [f"{drawn['support_balance']} support"] if "support_balance" in drawn else []
    how += [f"queries of Dirichlet({drawn['query_alpha']:g})"] if "query_alpha" in drawn else []
    return f"episodes ({', '.join(how)}): {ways}, {support}, {queries}; each episode counts the same"


def range_of(numbers: Iterable[int]) -> str:
    """E.g. `1 to 9`."""
    found = set(numbers)
    return str(*found) if len(found) == 1 else f"{min(found)} to {max(found)}"


def _shape(result: Result) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(result.shape.items()))
