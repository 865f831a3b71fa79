"""From results to the values of a table, for whoever writes it down: text, Markdown, a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot_bn.evaluation.metrics import metrics_of
from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """A result in a table. `difference` is to the result of the baseline on the same episodes; None without one.

    `metrics` are pooled over all episodes, by name; None where a result is too old to tell.
    """

    mode: str
    n_support: int
    accuracy: Estimate
    is_baseline: bool
    difference: Estimate | None
    metrics: dict[str, float | None]
    seconds_per_episode: float
    transductive: bool
    n_episodes: int
    n_not_converged: int


def rows_of(results: Sequence[Result], baseline: str | None) -> list[Row]:
    """One row per result, in their order."""
    baselines = {_shape(result): result for result in results if result.mode == baseline}
    return [_row(result, baselines.get(_shape(result))) for result in results]


def _row(result: Result, baseline: Result | None) -> Row:
    compared = baseline is not None and baseline is not result
    return Row(
        mode=result.mode,
        n_support=result.shape["n_support"],
        accuracy=result.accuracy,
        is_baseline=baseline is result,
        difference=result.difference_to(baseline) if baseline and compared else None,
        metrics={name: result.pooled(name) for name in metrics_of("episodes")},
        seconds_per_episode=result.seconds_per_episode,
        transductive=result.key["adapter"]["transductive"],
        n_episodes=len(result),
        n_not_converged=result.converged.count(False),
    )


def _shape(result: Result) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(result.shape.items()))
