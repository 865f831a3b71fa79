"""Results of the many-shot regime as aligned text. Shares are fractions everywhere else; here they become percent."""

from collections.abc import Iterator, Sequence

from fewshot_bn.evaluation.many_shot.verdict import LEAST_IN_GROUP
from fewshot_bn.evaluation.metrics import METRICS
from fewshot_bn.reports.text import percent, table
from fewshot_bn.results.many_shot import ManyShotResult, Tested

WORST = "worst group"


def many_shot_table(results: Sequence[ManyShotResult], baseline: str | None) -> str:
    """One line per result: the scores of the test images by every metric, that of the dataset first.

    Beside it stands the difference to the baseline's result on the same images, and the score of the worst group, where
    there are groups; then the same of the other datasets that were tested on. Below, what is to be said of a fit, and
    which the worst groups are.
    """
    metric = results[0].metric
    others = [name for name in results[0].test if name != metric]
    difference = f"difference to {baseline or 'baseline'} ± CI"
    score = f"{METRICS[metric].title} ± 95 % CI"
    header = ["mode", score, difference, WORST, *(METRICS[name].title for name in others)]
    for name in results[0].tests:
        header += [f"{name}: {score}", difference, WORST]
    header += ["C", "steps", "trained values", "s"]
    base = next((result for result in results if result.mode == baseline), None) if len(results) > 1 else None
    cells = [_cells(result, base, results[0]) for result in results]
    notes = [note for result in results for note in _notes(result)]
    return "\n".join([table(header, cells), *notes, *_notes_on_groups(results)])


def _cells(result: ManyShotResult, base: ManyShotResult | None, first: ManyShotResult) -> list[str]:
    """Those of the columns that the first result has."""
    return [
        result.mode,
        *_compared(result, base, first.metric, None),
        *(_score(result.tested(), name) for name in first.test if name != first.metric),
        *(cell for name in first.tests for cell in _compared(result, base, first.metric, name)),
        "" if result.C is None else f"{result.C:.3g}",
        *(f"{result.training[name]:,}" if name in result.training else "" for name in ("steps", "trained_values")),
        f"{result.run['seconds']:.3g}",
    ]


def _compared(result: ManyShotResult, base: ManyShotResult | None, metric: str, test: str | None) -> list[str]:
    """Score, difference to the baseline and score of the worst group, of the split or another test."""
    tested = result.tested(test)
    difference = "" if base is None else "(baseline)"
    if base is not None and result is not base:
        found = result.difference_to(base, metric, test)
        plain = f"{100 * (tested.test[metric] - base.tested(test).test[metric]):+.2f}"
        difference = percent(found, signed=True) if found else plain
    worst = f"{100 * tested.worst_group['accuracy']:.2f}" if tested.worst_group else ""
    return [_score(tested, metric), difference, worst]


def _score(tested: Tested, metric: str) -> str:
    found = tested.estimate(metric)
    return percent(found) if found else f"{100 * tested.test[metric]:.2f}"


def _notes_on_groups(results: Sequence[ManyShotResult]) -> Iterator[str]:
    """Which the worst groups are, a line for each test."""
    for name in (None, *results[0].tests):
        found = {result.mode: result.tested(name).worst_group for result in results}
        groups = [f"{mode} {worst['group']} ({worst['n_images']:,} images)" for mode, worst in found.items() if worst]
        if groups:
            where = "" if name is None else f" of {name}"
            yield f"worst group{where} (top-1, of those of at least {LEAST_IN_GROUP} images): {', '.join(groups)}"


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
