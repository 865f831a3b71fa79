"""python -m fewshot_bn.eval: adapt a pretrained backbone to few-shot episodes and compare with a probe.

Arguments in, table and result files out. Exit status: see cli/options.py.
"""

import sys

from fewshot_bn.cli.eval import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
