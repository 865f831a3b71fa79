"""The verb eval: from its arguments to a config, from the events of its run to notes, bars and a table."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot_bn.cli import few_shot, many_shot
from fewshot_bn.cli.help import EXAMPLES
from fewshot_bn.cli.options import EPISODES, Parser, add_options, run_verb
from fewshot_bn.cli.settings import Texts, parse_texts
from fewshot_bn.config import Config, FewShotConfig, ManyShotConfig
from fewshot_bn.host_memory import keep_freed_memory


@dataclass(frozen=True, slots=True)
class Regime:
    """How a regime is asked for and shown."""

    config_of: Callable[[Mapping[str, Any], Texts], Config]
    line: Callable[[Any, Any], str]
    table: Callable[[Sequence[Any], Any], str]


REGIMES = {
    "few-shot": Regime(few_shot.config_of, few_shot.line, few_shot.table),
    "many-shot": Regime(many_shot.config_of, many_shot.line, many_shot.table),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the arguments ask for: a config, how its results are shown, and whether only the table is wanted."""

    config: Config
    regime: Regime
    quiet: bool = False


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m fewshot_bn.eval",
        description="Few-shot episodes: adapt a pretrained backbone to each, and report mean accuracy with its 95 % "
        "interval and the paired difference to a baseline on the same episodes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def group(title: str, *names: str) -> argparse._ArgumentGroup:
        made = parser.add_argument_group(title)
        add_options(made, FewShotConfig, names, only_given=True)
        return made

    data = group("data", "dataset", "data_root", "preset", "image_px")
    data.add_argument(
        "--regime",
        choices=tuple(REGIMES),
        default="few-shot",
        help="few-shot episodes, or linear evaluation on all training images with C chosen on validation images; "
        "default: %(default)s",
    )
    add_options(data, FewShotConfig, ["strict"], only_given=True)
    group("episodes", *EPISODES, "metrics")
    many = parser.add_argument_group("many-shot")
    add_options(many, ManyShotConfig, [field.name for field in many_shot.options()], only_given=True)
    adapters = group("backbone and adapters", "model", "weights", "preprocessing", "model_root", "modes", "baseline")
    adapters.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="MODE.SETTING=VALUE",
        help="change a setting of a mode",
    )
    running = group("running", "device", "shard", "chunk", "output", "keep_features", "keep_pixels")
    running.add_argument("--quiet", action="store_true", help="no progress and no notes, only the table")
    return parser


def parse(argv: Sequence[str] | None = None) -> Request:
    """Raises `UsageError` where the arguments make no config."""
    given = vars(_parser().parse_args(argv))
    regime, quiet, texts = REGIMES[given.pop("regime")], given.pop("quiet"), given.pop("settings")
    return Request(regime.config_of(given, parse_texts(texts)), regime, quiet)


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(parse(argv)))


def _run(request: Request) -> int:
    from fewshot_bn import experiment
    from fewshot_bn.cli.console import Console

    keep_freed_memory()
    console, results, paths = Console(quiet=request.quiet), [], []
    with console.shown():
        for done in console.follow(experiment.run(request.config)):
            results.append(done.result)
            paths.append(done.path)
            console.say(request.regime.line(done.result, request.config))
    print(request.regime.table(results, request.config))
    for path in paths:
        print(f"result: {path}")
    return 0
