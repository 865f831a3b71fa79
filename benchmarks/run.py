"""Run a suite: every combination of the lists in a TOML file, each as one run of `fewshot_bn.eval`.

    python benchmarks/run.py benchmarks/suites/digits.toml [further options of fewshot_bn.eval]

A suite's keys are the options of the command; a list of lists gives one run per member. Runs that are complete are
skipped and those that were stopped go on, since the command does so. A run that fails is reported and the others go
on; the exit status is then 2.
"""

import itertools
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot_bn import eval as eval_verb


def commands(suite: dict[str, Any]) -> Iterator[list[str]]:
    """The arguments of each run; e.g. model = [["a"], ["b"]] gives two, mode = ["lr", "bn"] one with both modes."""
    choices = [[(option, member) for member in members(value)] for option, value in suite.items()]
    for combination in itertools.product(*choices):
        arguments: list[str] = []
        for option, values in combination:
            arguments += [f"--{option}", *map(str, values)]
        yield arguments


def members(value: Any) -> list[list[Any]]:
    if not isinstance(value, list):
        return [[value]]
    return value if all(isinstance(member, list) for member in value) else [value]


def main(argv: list[str] | None = None) -> int:
    path, *further = sys.argv[1:] if argv is None else argv
    worst = 0
    for arguments in commands(tomllib.loads(Path(path).read_text(encoding="utf-8"))):
        print(f"\n$ python -m fewshot_bn.eval {' '.join([*arguments, *further])}", flush=True)
        status = eval_verb.main([*arguments, *further])
        if status == 130:
            return status
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main())
