"""The verb rank: from its arguments to results, and from these to tables and a picture."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot_bn.cli.options import Parser, at_least, run_verb
from fewshot_bn.cli.settings import parse_texts
from fewshot_bn.errors import UsageError, unknown

if TYPE_CHECKING:
    from fewshot_bn.reports.ranks import RankReport

LEAST_SAMPLES, N_SAMPLES, MOST_SAMPLES = 100, 2_000, 100_000
BASELINE = "lr"
EXAMPLES = """\
examples:
  python -m fewshot_bn.rank results
  python -m fewshot_bn.rank results other/results --reference ft --mode proto lr bn --plot ranks.svg
  python -m fewshot_bn.rank results --match bn.steps=50 --metric auc --format json

Results come from python -m fewshot_bn.eval, run with the same episodes on each backbone; docs/ranking.md says what the
numbers mean."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m fewshot_bn.rank",
        description="How well modes rank backbones as a reference mode does: Kendall's tau-b, Spearman's rho, "
        "Pearson's r and top-1 regret, with 95 % bootstrap intervals over backbones, over episodes and over both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="RESULTS", help="result files, and folders with any below them"
    )
    parser.add_argument(
        "--reference", default="ft", metavar="MODE", help="the mode whose order is the right one; default: %(default)s"
    )
    parser.add_argument(
        "--mode",
        dest="modes",
        nargs="+",
        metavar="MODE",
        help="the modes that are compared with it; default: all others",
    )
    parser.add_argument(
        "--baseline",
        metavar="MODE",
        help="the mode whose tau-b the others' are compared with, or none; default: lr, if it is there",
    )
    parser.add_argument(
        "--metric",
        default="accuracy",
        metavar="METRIC",
        help="accuracy, mean-per-class, auc, f1 or nll; of many-shot results accuracy (top-1), mean-per-class or map; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--match",
        nargs="+",
        action="extend",
        default=[],
        metavar="MODE.SETTING=VALUE",
        help="of a mode, take only results with that setting",
    )
    parser.add_argument(
        "--samples",
        type=at_least(LEAST_SAMPLES),
        default=N_SAMPLES,
        metavar="N",
        help="of each bootstrap; default: %(default)s",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of the samples; default: %(default)s")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw scores by each mode against those by the reference, with the names of the backbones: .png, .svg or "
        ".pdf",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(_parser().parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    from fewshot_bn.reports.ranks import rank_text, rank_values
    from fewshot_bn.reports.scatter import check_plot, draw_ranks

    if arguments.samples > MOST_SAMPLES:
        raise UsageError(f"--samples is {arguments.samples}; at most {MOST_SAMPLES} are drawn")
    if arguments.plot:
        check_plot(arguments.plot)
    report = _report(arguments)
    if arguments.plot:
        draw_ranks(report, arguments.plot)
    if arguments.format == "json":
        print(json.dumps(rank_values(report), indent=2, allow_nan=False))
        return 0
    print(rank_text(report))
    if arguments.plot:
        print(f"plot: {arguments.plot}")
    return 0


def _report(arguments: argparse.Namespace) -> "RankReport":
    from fewshot_bn.reports.ranks import RankReport
    from fewshot_bn.results.folders import find_results
    from fewshot_bn.results.ranks import doubts, rank
    from fewshot_bn.results.resampling import Bootstrap
    from fewshot_bn.results.selection import matching
    from fewshot_bn.results.shared_tasks import notes_on_means
    from fewshot_bn.results.tasks import Asked, tasks_of

    found, notes = find_results(arguments.results)
    asked = Asked(arguments.reference, arguments.modes, arguments.metric)
    made = tasks_of(matching(found, parse_texts(arguments.match, "--match")), asked)
    proxies = list(dict.fromkeys(mode for task in made.tasks for mode in task.modes[1:]))
    baseline = _baseline(arguments.baseline, proxies)
    bootstrap = Bootstrap(arguments.samples, arguments.seed)
    rankings = rank(made.tasks, asked.metric, baseline, bootstrap)
    notes += [*made.notes, *notes_on_means(made.tasks), *doubts(rankings)]
    return RankReport(rankings, asked.metric, asked.reference, baseline, bootstrap, made.backbones, notes)


def _baseline(asked: str | None, proxies: Sequence[str]) -> str | None:
    if asked is None:
        return BASELINE if BASELINE in proxies else None
    if asked == "none":
        return None
    if asked not in proxies:
        raise unknown("baseline", asked, [*proxies, "none"])
    return asked
