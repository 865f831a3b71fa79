"""The command on a folder of small images with a small network, and what its result files say.

Norm tuning takes few steps and the readout that is solved fastest; its defaults are run by tests/cli/test_smoke.py.
"""

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
