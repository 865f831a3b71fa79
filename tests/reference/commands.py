"""The command on a folder of small images with a small network, and what its result files say.

Norm tuning takes few steps and the readout that is solved fastest; its defaults are run by tests/cli/test_smoke.py.
"""

import re

from fewshot_bn.eval import main
from fewshot_bn.results.reading import read_result

TINY = ["--n-way", "3", "--n-support", "2", "--n-query", "4", "--n-episodes", "6"]


def run(*arguments):
    quick = [] if "--mode" in arguments and "bn" not in arguments else ["--set", "bn.steps=3", "bn.readout=ridge"]
    return main(["--dataset", "shapes", "--model", "card.toml", *TINY, *quick, *arguments])


def results(folder):
    found = [read_result(path) for path in sorted(folder.glob("*.json"))]
    return {(r.key["adapter"]["name"], r.key["shape"]["n_support"]): r for r in found}


def answers(folder):
    return {key: (r.correct, r.converged, r.steps, r.episodes) for key, r in results(folder).items()}


def stopped_after(n, evaluate):
    """`evaluate`, but for Ctrl-C after `n` of its outcomes."""

    def interrupted(*args, **kwargs):
        for i, outcome in enumerate(evaluate(*args, **kwargs)):
            if i == n:
                raise KeyboardInterrupt
            yield outcome

    return interrupted


def runner(verb, capsys):
    """A function that runs `verb` on its arguments, and gives its exit status and what it printed."""

    def run(*arguments):
        capsys.readouterr()
        status = verb([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def assert_refused(done, message):
    """One line that says what is wrong, and status 2."""
    status, out, err = done
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert re.search(f"^error: .*{message}", err), err
