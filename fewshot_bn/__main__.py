"""The console script `fewshot-bn` and `python -m fewshot_bn`: the verbs by name."""

import sys
from collections.abc import Sequence

from fewshot_bn import data as data_verb
from fewshot_bn import eval as eval_verb
from fewshot_bn import models as models_verb
from fewshot_bn import rank as rank_verb
from fewshot_bn.errors import unknown

VERBS = {"eval": eval_verb.main, "data": data_verb.main, "models": models_verb.main, "rank": rank_verb.main}

USAGE = """\
usage: fewshot-bn VERB [options]

verbs:
  eval    adapt a backbone to few-shot episodes and compare with a probe
  data    list, fetch, verify and prepare datasets; keep episodes in files, and look at one
  models  list and fetch checkpoints; find out what others are of, check and convert them
  rank    how well cheap modes rank backbones as a costly one does, from result files

fewshot-bn VERB --help shows the options of a verb."""


def main(argv: Sequence[str] | None = None) -> int:
    verb, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if verb in ("-h", "--help"):
        print(USAGE)
        return 0
    if verb not in VERBS:
        print(f"error: {unknown('verb', verb, VERBS)}", file=sys.stderr)
        return 2
    return VERBS[verb](rest)


if __name__ == "__main__":
    sys.exit(main())
