"""From results to the values of a table, for whoever writes it down: text, Markdown, a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """A result in a table. `estimates` are of the metrics that are asked for, by name.

    `differences` in these are to the result of the baseline on the same episodes; empty without one. `metrics` are
    those of every table, pooled over all episodes; None where a result is too old to tell.
    """

    mode: str
    n_support: int
    estimates: Mapping[str, Estimate]
    is_baseline: bool
    differences: Mapping[str, Estimate]
    metrics: Mapping[str, float | None]
    seconds_per_episode: float
    transductive: bool
    n_episodes: int
    n_not_converged: int


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
        n_support=result.shape["n_support"],
        estimates={name: result.estimate(name) for name in metrics},
        is_baseline=baseline is result,
        differences={name: result.difference_to(other, name) for other in others for name in metrics},
        metrics={name: result.pooled(name) for name in always(metrics)},
        seconds_per_episode=result.seconds_per_episode,
        transductive=result.key["adapter"]["transductive"],
        n_episodes=len(result),
        n_not_converged=result.converged.count(False),
    )


def _shape(result: Result) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(result.shape.items()))
