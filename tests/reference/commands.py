"""The command on a folder of small images with a small network, and what its result files say."""

from fewshot_bn.eval import main
from fewshot_bn.results.files import read_result

TINY = ["--n-way", "3", "--n-support", "2", "--n-query", "4", "--n-episodes", "6"]


def run(*arguments):
    few_steps = [] if "--mode" in arguments and "bn" not in arguments else ["--set", "bn.steps=3"]
    return main(["--dataset", "shapes", "--model", "card.toml", *TINY, *few_steps, *arguments])


def results(folder):
    found = [read_result(path) for path in sorted(folder.glob("*.json"))]
    return {(r.key["adapter"]["name"], r.key["shape"]["n_support"]): r for r in found}


def answers(folder):
    return {key: (r.correct, r.converged, r.steps, r.episodes) for key, r in results(folder).items()}
