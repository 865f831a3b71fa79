"""Arguments that several verbs share, and what all verbs do about errors.

Exit status: 0 done, 2 an error of ours (one line), 130 stopped by Ctrl-C, 141 when nobody reads the output.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from fewshot_bn.config import Request
from fewshot_bn.errors import FewshotError, UsageError


class Parser(argparse.ArgumentParser):
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


def add_data_root(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--data-root",
        type=Path,
        metavar="FOLDER",
        help="where the trees of known datasets lie; default: $FEWSHOT_BN_DATA, else ./data",
    )


def add_geometry(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--preset", help="resize and crop as published: cdfsl or paper; default: as the backbone's card says"
    )
    group.add_argument(
        "--image-size",
        dest="image_px",
        type=at_least(8),
        metavar="PX",
        help="side of the images that the backbone sees; default: as its card says",
    )


def add_model(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--model",
        default=Request().model,
        metavar="NAME|PATH",
        help="a shipped card, a torchvision model or a card of your own (.toml); default: the embedded %(default)s",
    )


def add_episodes(group: argparse._ActionsContainer, *, several_shots: bool) -> None:
    """The options that say which episodes are drawn, for one or several numbers of shots."""
    default, add = Request(), group.add_argument
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
        nargs="+" if several_shots else None,
        default=default.n_support if several_shots else default.n_support[0],
        metavar="N",
        help=f"support images per class (shots){', one or several numbers' if several_shots else ''}; default: 5",
    )
    add(
        "--n-query",
        type=at_least(1),
        default=default.n_query,
        metavar="N",
        help="query images per class; default: %(default)s",
    )
    add(
        "--n-episodes",
        type=at_least(1),
        metavar="N",
        help="default: 600, or as many as there are of disjoint or listed ones",
    )
    add(
        "--episodes",
        default=default.episodes,
        metavar="KIND|FILE",
        help="random; disjoint (no image in two episodes: few exist, and the run says how many); or a list written by "
        "python -m fewshot_bn.data episodes; default: %(default)s",
    )
    add(
        "--by-group",
        action="store_true",
        help="no lesion or patient on both sides of an episode, and none twice where possible",
    )
    add("--seed", type=at_least(0), default=default.seed, metavar="N", help="of the episodes; default: %(default)s")


def run_verb(verb: Callable[[], int]) -> int:
    """What `verb` returns; an error of ours becomes one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ± shows ? instead
    try:
        status = verb()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output; the results are in their files
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (FewshotError, OSError) as problem:
        print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop if stop.args else "stopped; what is kept is not computed again", file=sys.stderr)
        return 130
    return status
