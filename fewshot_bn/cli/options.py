"""Options made of the fields of a config, and what all verbs do about errors.

Exit status: 0 done, 2 an error of ours (one line), 130 stopped by Ctrl-C, 141 when nobody reads the output.
"""

import argparse
import dataclasses
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fewshot_bn.config import Config
from fewshot_bn.errors import FewshotError, UsageError, is_out_of_memory

EPISODES = (
    "n_way",
    "n_support",
    "n_query",
    "n_episodes",
    "episodes",
    "support_balance",
    "query_alpha",
    "by_group",
    "seed",
)
MOST = 10**20  # what has a smaller limit says so itself
KEPT = "what is kept is not computed again"
SHOWN_CHARACTERS = 300  # of a word of a message, such as a path
SEVERAL = ", one or several numbers"


class Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help shows all options")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses an empty argument, such as a variable of the shell leaves that is not set, and `--name=--`."""
        texts = sys.argv[1:] if args is None else list(args)
        for before, text in zip(["", *texts], texts, strict=False):
            flag, equals, value = text.partition("=")
            if text.startswith("--") and equals and value.strip() in ("", "--"):
                self.error(f"{flag} is given {value!r}; give it a value or leave it out")
            if not text.strip():
                self.error(f"an argument is empty{f' (after {before})' if before else ''}; leave it out or fill it")
        return super().parse_known_args(texts, namespace)


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers from `least` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= MOST:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least} (and at most {MOST})")
        return value

    return parse


def add_options(
    group: argparse._ActionsContainer, config: type[Config], names: Sequence[str], *, only_given: bool = False
) -> None:
    """An option for each of these fields of the config, with its default, its help text and what it takes.

    With `only_given`, options that are not given leave no trace in what is parsed.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}
    for name in names:
        field = fields[name]
        default: Any = argparse.SUPPRESS if only_given else field.default
        group.add_argument(flag_of(field), dest=name, default=default, help=_help(field), **_what_it_takes(field))


def add_single_episode_options(group: argparse._ActionsContainer, config: type[Config]) -> None:
    """The options that say which episodes are drawn, for one number of shots."""
    add_options(group, config, [name for name in EPISODES if name != "n_support"])
    n_support = next(field for field in dataclasses.fields(config) if field.name == "n_support")
    default: Any = n_support.default
    text, least = _help(n_support).replace(SEVERAL, ""), n_support.metadata["least"]
    group.add_argument("--n-support", type=at_least(least), default=default[0], metavar="N", help=text)


def flag_of(field: "dataclasses.Field[Any]") -> str:
    """E.g. --n-way; a field may name another."""
    return field.metadata.get("flag") or "--" + field.name.replace("_", "-")


def _help(field: "dataclasses.Field[Any]") -> str:
    text: str = field.metadata["text"]
    return text.replace("%(default)s", str(field.default)).replace("%", "%%")


def _what_it_takes(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    facts = field.metadata
    if isinstance(field.default, bool):
        return {"action": "store_false" if field.default else "store_true"}
    found: dict[str, Any] = {"metavar": facts.get("metavar")}
    if "least" in facts:
        found["type"] = at_least(facts["least"])
    if "parse" in facts:
        found["type"] = facts["parse"]
    if facts.get("several"):
        found["nargs"] = "+"
    return found


def _check_here() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as problem:  # torch would end the process, with a riddle
        raise UsageError("the current folder is gone; change to one that is there") from problem


def _want(problem: MemoryError | RuntimeError) -> str:
    """What this process was not given, and what to do; "" if that is not what it is about."""
    if is_out_of_memory(problem):
        return "out of memory; take smaller images (--image-size) or a smaller network, or free some; " + KEPT
    if "can't start new thread" in str(problem):
        return "no thread can be started; raise the limit on processes (ulimit -u, or that of the container); " + KEPT
    return ""


def _shortened(word: str) -> str:
    n = SHOWN_CHARACTERS
    return word if len(word) <= n else f"{word[: n - 40]}…{word[-20:]}"


def run_verb(verb: Callable[[], int]) -> int:
    """What `verb` returns; an error of ours becomes one line on standard error."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by whoever started this
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ± shows ? instead
    try:
        _check_here()
        status = verb()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output; the results are in their files
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (FewshotError, OSError) as problem:
        print(f"error: {' '.join(map(_shortened, str(problem).split()))}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as problem:
        if not (why := _want(problem)):
            raise
        print(f"error: {why}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop if stop.args else f"stopped; {KEPT}", file=sys.stderr)
        return 130
    return status
