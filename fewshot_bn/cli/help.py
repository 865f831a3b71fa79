"""What `--help` says below the options: every mode, every setting, examples.

The first two are a file that is made from the adapters, so that help does not wait for PyTorch.
"""

from pathlib import Path

MODES = Path(__file__).with_name("modes.txt")  # python -m fewshot_bn.cli.texts writes it anew

EXAMPLES = f"""\
{MODES.read_text(encoding="utf-8")}
examples:
  python -m fewshot_bn.eval                                   embedded digits and backbone, no download
  python -m fewshot_bn.eval --dataset eurosat --n-way 5 --n-support 5 --mode bn
  python -m fewshot_bn.eval --dataset path/to/folder --model resnet50 --n-support 1 5 20 --mode proto bn
  python -m fewshot_bn.eval --model my-card.toml --mode bn bn23 --set bn.scope=last bn.steps=20

A run that was stopped goes on where it was when the same command is given again."""
