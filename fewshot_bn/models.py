"""python -m fewshot_bn.models: which checkpoints there are, get them, and find out what others are of.

Arguments in, reports and files out. Exit status: 1 when `check` finds something wrong or `guess` finds no network that
fits, else see cli/options.py.
"""

import sys

from fewshot_bn.cli.models import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
