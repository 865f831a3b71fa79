"""python -m fewshot_bn.eval: adapt a pretrained backbone to few-shot episodes and compare with a probe.

Arguments in, table and result files out. Exit status: see arguments.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot_bn.cli.help import EXAMPLES
from fewshot_bn.cli.options import Parser, add_data_root, add_episodes, add_geometry, add_model, at_least, run_verb
from fewshot_bn.config import Request
from fewshot_bn.errors import UsageError


def _parser() -> argparse.ArgumentParser:
    default = Request()
    parser = Parser(
        prog="python -m fewshot_bn.eval",
        description="Few-shot episodes: adapt a pretrained backbone to each, and report mean accuracy with its 95 % "
        "interval and the paired difference to a baseline on the same episodes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_data_options(parser.add_argument_group("data"), default)
    add_episodes(parser.add_argument_group("episodes"), several_shots=True)
    _add_adapter_options(parser.add_argument_group("backbone and adapters"), default)
    _add_running_options(parser.add_argument_group("running"), default)
    return parser


def _add_data_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    embedded = f"the embedded {default.dataset}"
    add(
        "--dataset",
        default=default.dataset,
        metavar="NAME|PATH",
        help="a known dataset (python -m fewshot_bn.data list), an image folder with one subfolder per class, a CSV "
        f"table (path, label[, group]), a list (name number), an HDF5 or NPZ file, or a card; default: {embedded}",
    )
    add_data_root(group)
    add_geometry(group)
    add(
        "--regime",
        choices=("few-shot", "many-shot"),
        default=default.regime,
        help="few-shot episodes, or linear evaluation on all training images with C chosen on validation images; "
        "default: %(default)s",
    )
    add("--strict", action="store_true", help="data or weights that differ from their card are an error")


def _add_adapter_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    add_model(group)
    add(
        "--weights",
        metavar="NAME|PATH",
        help="a file, the name of official weights, or random; default: the card's, or IMAGENET1K_V1",
    )
    add(
        "--mode",
        dest="modes",
        nargs="+",
        default=default.modes,
        metavar="MODE",
        help="one or several of the modes below; default: bn",
    )
    add(
        "--baseline",
        default=default.baseline,
        metavar="MODE",
        help="the mode that the others are compared with, or none; default: %(default)s",
    )
    add(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="MODE.SETTING=VALUE",
        help="change a setting of a mode",
    )


def _add_running_options(group: argparse._ArgumentGroup, default: Request) -> None:
    add = group.add_argument
    add(
        "--device",
        default=default.device,
        metavar="NAME,...",
        help="auto, cpu, cuda, cuda:<index>, several with commas between them, or all (CUDA devices); default: auto",
    )
    add(
        "--shard",
        metavar="I/K",
        help="only every K-th episode from the I-th on, for job arrays; the same command without it merges the shards",
    )
    add(
        "--chunk",
        type=at_least(1),
        metavar="N",
        help="episodes adapted at once: changes speed and memory, not the answer; default: by image size",
    )
    add(
        "--output",
        type=Path,
        default=default.output,
        metavar="FOLDER",
        help="where result files go; default: %(default)s",
    )
    add(
        "--no-feature-cache",
        dest="keep_features",
        action="store_false",
        help="do not keep frozen features on disk ($FEWSHOT_BN_CACHE) for later runs",
    )
    add(
        "--no-store",
        dest="keep_pixels",
        action="store_false",
        help="decode images whenever they are needed, instead of once into a store on disk ($FEWSHOT_BN_CACHE)",
    )
    add("--quiet", action="store_true", help="no progress and no notes, only the table")


def parse(argv: Sequence[str] | None = None) -> Request:
    """Arguments as a `Request`. Raises `UsageError` where they make none."""
    values = vars(_parser().parse_args(argv))
    values["n_support"], values["modes"] = tuple(values["n_support"]), tuple(values["modes"])
    values["baseline"] = None if values["baseline"] == "none" else values["baseline"]
    values["settings"] = _settings(values["settings"])
    return Request(**values)


def _settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        mode, dot, setting = name.partition(".")
        if not (equals and dot and mode and setting and value):
            raise UsageError(f"--set {text!r} is not of the form MODE.SETTING=VALUE, e.g. bn.steps=40")
        if setting in settings.setdefault(mode, {}):
            raise UsageError(f"--set names {name} twice")
        settings[mode][setting] = value
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    request = parse(argv)
    if request.regime == "many-shot":
        from fewshot_bn.cli.many_shot import run
    else:
        from fewshot_bn.cli.few_shot import run
    run(request)
    return 0


if __name__ == "__main__":
    sys.exit(main())
