"""python -m fewshot_bn.rank: how well cheap modes rank backbones as a costly one does.

Result files in, tables and a picture out. Exit status: see cli/options.py.
"""

import sys

from fewshot_bn.cli.rank import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
