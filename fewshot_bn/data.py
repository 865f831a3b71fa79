"""python -m fewshot_bn.data: which datasets there are, get them, check them, decode them, look at them.

Arguments in, reports and files out. Exit status: 1 when `verify` finds something wrong, else see cli/options.py.
"""

import sys

from fewshot_bn.cli.data import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
