"""Results as an aligned text table. Accuracies are fractions everywhere else; here they become percent."""

import math
from collections.abc import Sequence

from fewshot_bn.results.result import Result
from fewshot_bn.results.statistics import Estimate, estimate, paired_difference

HEADER = ("mode", "shots", "accuracy ± 95 % CI", "difference to {} ± CI", "NLL", "ECE", "s/episode", "")


def table(results: Sequence[Result], baseline: str | None) -> str:
    """One line per result; the difference is to the baseline's result of the same shape, over the same episodes.

    NLL and ECE are the negative log-likelihood and the expected calibration error (in %) of the queries.
    """
    baselines = {_shape(r): r for r in results if r.identity["adapter"]["name"] == baseline}
    rows = [_row(result, baselines.get(_shape(result))) for result in results]
    header = [title.format(baseline or "baseline") for title in HEADER]
    kept = [column for column, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
    rows = [[row[column] for column in kept] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(kept))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def percent(value: Estimate, *, signed: bool = False) -> str:
    """E.g. `81.23 ± 0.74`; the interval of a single episode is unknown."""
    half_width = "?" if math.isinf(value.half_width) else f"{100 * value.half_width:.2f}"
    return f"{100 * value.mean:{'+' if signed else ''}.2f} ± {half_width}"


def _row(result: Result, baseline: Result | None) -> list[str]:
    if baseline is None:
        difference = ""
    elif baseline is result:
        difference = "(baseline)"
    else:
        difference = percent(paired_difference(result.accuracies, baseline.accuracies), signed=True)
    n_not_converged = result.converged.count(False)
    remarks = [
        "transductive" if result.identity["adapter"]["transductive"] else "",
        f"{n_not_converged} of {len(result)} episodes did not converge" if n_not_converged else "",
    ]
    return [
        result.identity["adapter"]["name"],
        str(result.identity["shape"]["n_support"]),
        percent(estimate(result.accuracies)),
        difference,
        "" if result.nll is None else f"{result.nll:.3f}",
        "" if result.calibration_error is None else f"{100 * result.calibration_error:.1f}",
        f"{result.seconds_per_episode:.2g}",
        "; ".join(filter(None, remarks)),
    ]


def _shape(result: Result) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(result.identity["shape"].items()))
