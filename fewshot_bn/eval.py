"""python -m fewshot_bn.eval: adapt a pretrained backbone to few-shot episodes and compare with a probe.

Arguments in, table and result files out. Exit status: 0 done, 2 an error of ours (one line), 130 stopped by Ctrl-C.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from fewshot_bn.errors import FewshotError, UsageError
from fewshot_bn.help_text import EXAMPLES
from fewshot_bn.request import Request


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help shows all options")


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers from `least` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    default = Request()
    parser = _Parser(
        prog="python -m fewshot_bn.eval",
        description="Few-shot episodes: adapt a pretrained backbone to each, and report mean accuracy with its 95 % "
        "interval and the paired difference to a baseline on the same episodes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_data_options(parser.add_argument_group("data"), default)
    _add_episode_options(parser.add_argument_group("episodes"), default)
    _add_adapter_options(parser.add_argument_group("backbone and adapters"), default)
    _add_running_options(parser.add_argument_group("running"), default)
    return parser


def _add_data_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    embedded = f"the embedded {default.dataset}"
    add(
        "--dataset",
        default=default.dataset,
        metavar="NAME|PATH",
        help=f"a known dataset, an image folder (one subfolder per class) or a card; default: {embedded}",
    )
    add(
        "--data-root",
        type=Path,
        metavar="FOLDER",
        help="where the trees of known datasets lie; default: $FEWSHOT_BN_DATA, else ./data",
    )
    add("--preset", help="resize and crop as published: cdfsl or paper; default: as the backbone's card says")
    add(
        "--image-size",
        dest="image_px",
        type=at_least(8),
        metavar="PX",
        help="side of the images that the backbone sees; default: as its card says",
    )
    add(
        "--regime",
        choices=("few-shot", "many-shot"),
        default=default.regime,
        help="few-shot episodes, or linear evaluation on all training images with C chosen on validation images; "
        "default: %(default)s",
    )
    add("--strict", action="store_true", help="data or weights that differ from their card are an error")


def _add_episode_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    add(
        "--n-way",
        type=at_least(2),
        default=default.n_way,
        metavar="N",
        help="classes per episode; default: %(default)s",
    )
    add(
        "--n-support",
        type=at_least(1),
        nargs="+",
        default=default.n_support,
        metavar="N",
        help="support images per class (shots), one or several numbers; default: 5",
    )
    add(
        "--n-query",
        type=at_least(1),
        default=default.n_query,
        metavar="N",
        help="query images per class; default: %(default)s",
    )
    add("--n-episodes", type=at_least(1), default=default.n_episodes, metavar="N", help="default: %(default)s")
    add("--seed", type=at_least(0), default=default.seed, metavar="N", help="of the episodes; default: %(default)s")


def _add_adapter_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    add(
        "--model",
        default=default.model,
        metavar="NAME|PATH",
        help="a shipped card, a torchvision model or a card of your own (.toml); default: the embedded %(default)s",
    )
    add(
        "--weights",
        metavar="NAME|PATH",
        help="a file, the name of official weights, or random; default: the card's, or IMAGENET1K_V1",
    )
    add(
        "--mode",
        dest="modes",
        nargs="+",
        default=default.modes,
        metavar="MODE",
        help="one or several of the modes below; default: bn",
    )
    add(
        "--baseline",
        default=default.baseline,
        metavar="MODE",
        help="the mode that the others are compared with, or none; default: %(default)s",
    )
    add(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="MODE.SETTING=VALUE",
        help="change a setting of a mode",
    )


def _add_running_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    add(
        "--device",
        default=default.device,
        metavar="NAME,...",
        help="auto, cpu, cuda, cuda:<index>, several with commas between them, or all (CUDA devices); default: auto",
    )
    add(
        "--shard",
        metavar="I/K",
        help="only every K-th episode from the I-th on, for job arrays; the same command without it merges the shards",
    )
    add(
        "--chunk",
        type=at_least(1),
        metavar="N",
        help="episodes adapted at once: changes speed and memory, not the answer; default: by image size",
    )
    add(
        "--output",
        type=Path,
        default=default.output,
        metavar="FOLDER",
        help="where result files go; default: %(default)s",
    )
    add(
        "--no-feature-cache",
        dest="keep_features",
        action="store_false",
        help="do not keep frozen features on disk ($FEWSHOT_BN_CACHE) for later runs",
    )
    add("--quiet", action="store_true", help="no progress and no notes, only the table")


def parse(argv: Sequence[str] | None = None) -> Request:
    """Arguments as a `Request`. Raises `UsageError` where they make none."""
    values = vars(_parser().parse_args(argv))
    values["n_support"], values["modes"] = tuple(values["n_support"]), tuple(values["modes"])
    values["baseline"] = None if values["baseline"] == "none" else values["baseline"]
    values["settings"] = _settings(values["settings"])
    return Request(**values)


def _settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        mode, dot, setting = name.partition(".")
        if not (equals and dot and mode and setting and value):
            raise UsageError(f"--set {text!r} is not of the form MODE.SETTING=VALUE, e.g. bn.steps=40")
        if setting in settings.setdefault(mode, {}):
            raise UsageError(f"--set names {name} twice")
        settings[mode][setting] = value
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ± shows ? instead
    try:
        request = parse(argv)
        if request.regime == "many-shot":
            from fewshot_bn.many_shot_suite import run
        else:
            from fewshot_bn.suite import run
        run(request)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the table; the results are in their files
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (FewshotError, OSError) as problem:
        print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop if stop.args else "stopped; the same command goes on from what is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
