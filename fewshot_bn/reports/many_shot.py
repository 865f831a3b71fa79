"""Results of the many-shot regime as aligned text. Shares are fractions everywhere else; here they become percent."""

from collections.abc import Sequence

from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.reports.text import percent, table
from fewshot_bn.results.many_shot import ManyShotResult


def many_shot_table(results: Sequence[ManyShotResult], baseline: str | None) -> str:
    """One line per result: the scores of the test images by every metric, that of the dataset first.

    Beside it stands the difference to the baseline's result on the same images; below, what is to be said of a fit.
    """
    metric = results[0].metric
    others = [name for name in results[0].test if name != metric]
    header = [
        "mode",
        f"{METRICS[metric].title} ± 95 % CI",
        f"difference to {baseline or 'baseline'} ± CI",
        *(METRICS[name].title for name in others),
        "C",
        "steps",
        "trained values",
        "s",
    ]
    base = next((result for result in results if result.mode == baseline), None) if len(results) > 1 else None
    cells = [_cells(result, base, metric, others) for result in results]
    return "\n".join([table(header, cells), *(note for result in results for note in _notes(result))])


def _cells(result: ManyShotResult, base: ManyShotResult | None, metric: str, others: Sequence[str]) -> list[str]:
    difference = "" if base is None else "(baseline)"
    if base is not None and result is not base:
        found = result.difference_to(base, metric)
        difference = percent(found, signed=True) if found else f"{100 * (result.test[metric] - base.test[metric]):+.2f}"
    return [
        result.mode,
        _score(result, metric),
        difference,
        *(_score(result, name) for name in others),
        "" if result.C is None else f"{result.C:.3g}",
        *(f"{result.training[name]:,}" if name in result.training else "" for name in ("steps", "trained_values")),
        f"{result.run['seconds']:.3g}",
    ]


def _score(result: ManyShotResult, metric: str) -> str:
    found = result.test_estimate(metric)
    return percent(found) if found else f"{100 * result.test[metric]:.2f}"


def _notes(result: ManyShotResult) -> list[str]:
    notes = []
    if result.path:
        notes.append(f"{result.mode}: C = {result.C:.3g} by {METRICS[result.metric].title} on the validation images")
    if result.trials:
        notes.append(f"{result.mode}: {_choice(result)}")
    if edge := _edge(result):
        notes.append(f"{result.mode}: C is the {edge} of its grid: widen it with --set lr.C_{edge[:3]}=")
    n_not_converged = [point["converged"] for point in result.path].count(False) + (not result.converged)
    if result.path and n_not_converged:
        notes.append(f"{result.mode}: {n_not_converged} of {len(result.path) + 1} fits did not converge")
    if not result.path and n_not_converged:
        notes.append(f"{result.mode}: diverged: scores are not finite, and such images count as wrong; lower its rates")
    return notes


def _choice(result: ManyShotResult) -> str:
    """What was chosen out of a grid."""
    values = {name: f"{value:g}" if isinstance(value, float) else value for name, value in result.chosen.items()}
    settings = " ".join(f"{name}={value}" for name, value in values.items())
    n_diverged = [trial["converged"] for trial in result.trials].count(False)
    diverged = f", of which {n_diverged} diverged" if n_diverged else ""
    by = METRICS[result.metric].title
    return f"{settings} by {by} on the validation images, out of {len(result.trials)} trials{diverged}"


def _edge(result: ManyShotResult) -> str:
    """Which end of the grid of lr the chosen C is, if it is one."""
    if len(result.path) == 1 or result.training:
        return ""
    ends = {result.path[0]["C"]: "minimum", result.path[-1]["C"]: "maximum"} if result.path else {}
    return ends.get(result.C, "")
