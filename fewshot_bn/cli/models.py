"""The verb models: its arguments, and which function does what they ask for."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from fewshot_bn.cli.options import Parser, add_options, run_verb
from fewshot_bn.config import FewShotConfig

Add = Callable[..., Parser]  # add_parser of subparsers
NAME = "a known card (see list), or the path of a card (.toml)"
EXAMPLES = """\
examples:
  python -m fewshot_bn.models list --model-root ~/models
  python -m fewshot_bn.models show moco-v2
  python -m fewshot_bn.models fetch moco-v2 --model-root ~/models
  python -m fewshot_bn.models guess checkpoint_0100.pth.tar --output mine.toml
  python -m fewshot_bn.models check moco_v2_800ep_pretrain.pth.tar --card moco-v2
  python -m fewshot_bn.models convert checkpoint_0100.pth.tar --card mine.toml --output mine.safetensors
  python -m fewshot_bn.models export moco-v2 --format detectron2 --output moco-v2.pkl"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m fewshot_bn.models",
        description="Checkpoints: list and fetch the known ones, find out what another is of, check it, convert it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_subparsers(dest="verb", required=True, metavar="VERB").add_parser
    for verb in (_add_list, _add_show, _add_fetch, _add_guess, _add_check, _add_convert, _add_export):
        verb(add)
    return parser


def _add_list(add: Add) -> None:
    what = "the known checkpoints, and which of them are here"
    verb = add("list", help=what, description=what, allow_abbrev=False)
    add_options(verb, FewShotConfig, ["model_root"])
    verb.add_argument(
        "--markdown", action="store_true", help="as the table of docs/checkpoints.md, without looking for files"
    )


def _add_show(add: Add) -> None:
    what = "the card, and which norm layers and how many values every scope tunes"
    verb = add("show", help=what, description=f"{what}; what is printed is a card itself", allow_abbrev=False)
    verb.add_argument("model", metavar="NAME|CARD", help=NAME)
    add_options(verb, FewShotConfig, ["model_root"])


def _add_fetch(add: Add) -> None:
    what = "download a checkpoint and check it; or say how to get it by hand where that may not be automatic"
    verb = add("fetch", help=what, description=what, allow_abbrev=False)
    verb.add_argument("model", metavar="NAME|CARD", help=NAME)
    add_options(verb, FewShotConfig, ["model_root"])
    verb.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _add_guess(add: Add) -> None:
    what = "what a file of weights holds, which known card or network it fits, and the draft of a card for it"
    verb = add("guess", help=what, description=f"{what}; exit status 1 where nothing fits", allow_abbrev=False)
    verb.add_argument("file", metavar="FILE", type=Path, help="a file of weights of any tool; nothing in it is run")
    verb.add_argument("--output", type=Path, metavar="CARD", help="where the draft goes; default: <name>.toml, here")
    verb.add_argument("--print", dest="only_print", action="store_true", help="print the draft, and write no file")


def _add_check(add: Add) -> None:
    what = "whether a file is the one of a card: its checksum, its keys, its values"
    verb = _on_file(add, "check", f"{what}; exit status 1 where something is wrong", what)
    verb.add_argument("--quiet", action="store_true", help="nothing but what is wrong")


def _add_convert(add: Add) -> None:
    what = "write the weights as safetensors under the names of the network, and a card without rules for keys"
    verb = _on_file(add, "convert", what, what)
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <name>.safetensors, here")


def _add_export(add: Add) -> None:
    what = "write a backbone as a file for the code of others, and say how to load it"
    verb = add("export", help=what, description=what, allow_abbrev=False)
    verb.add_argument("model", metavar="NAME|CARD", help="whatever --model of eval takes")
    verb.add_argument("--format", required=True, metavar="FORMAT", help="torchvision, timm or detectron2")
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <name>_<format>.pth or .pkl, here")
    add_options(verb, FewShotConfig, ["weights", "model_root"])


def _on_file(add: Add, name: str, description: str, what: str) -> Parser:
    verb = add(name, help=what, description=description, allow_abbrev=False)
    verb.add_argument("file", metavar="FILE", type=Path, help="a file of weights")
    verb.add_argument("--card", dest="model", required=True, metavar="NAME|CARD", help=NAME)
    return verb


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.verb in ("list", "show", "fetch"):
        from fewshot_bn.cli import model_cards as verbs
    else:
        from fewshot_bn.cli import model_files as verbs  # type: ignore[no-redef]
    status: int = getattr(verbs, {"list": "list_all"}.get(arguments.verb, arguments.verb))(arguments)
    return status
