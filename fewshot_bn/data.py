"""python -m fewshot_bn.data: which datasets there are, get them, check them, decode them, look at them.

Arguments in, reports and files out. Exit status: 1 when `verify` finds something wrong, else see arguments.py.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fewshot_bn.arguments import Parser, add_data_root, add_episodes, add_geometry, add_model, run_verb

EXAMPLES = """\
examples:
  python -m fewshot_bn.data list --data-root ~/data
  python -m fewshot_bn.data fetch eurosat --data-root ~/data
  python -m fewshot_bn.data verify isic --data-root ~/data
  python -m fewshot_bn.data prepare chestx --preset cdfsl --data-root ~/data
  python -m fewshot_bn.data episodes eurosat --frozen --output episodes.csv
  python -m fewshot_bn.data episodes path/to/folder --n-support 20 --by-group --output mine.jsonl
  python -m fewshot_bn.data show eurosat --episode 3 --result results/eurosat_....json"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m fewshot_bn.data",
        description="Datasets: list, fetch, verify and prepare them, keep episodes in files, look at one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_list(verbs)
    _add_fetch(verbs)
    _add_verify(verbs)
    _add_prepare(verbs)
    _add_episodes(verbs)
    _add_show(verbs)
    return parser


def _verb(verbs: "argparse._SubParsersAction[Parser]", name: str, what: str, *, takes_name: bool = True) -> Parser:
    verb = verbs.add_parser(name, help=what, description=what, allow_abbrev=False)
    if takes_name:
        verb.add_argument("dataset", metavar="NAME|PATH", help="a known dataset, or files as eval --dataset takes them")
    add_data_root(verb)
    return verb


def _add_list(verbs: "argparse._SubParsersAction[Parser]") -> None:
    verb = _verb(verbs, "list", "what is known, and what of it is under the data root", takes_name=False)
    verb.add_argument("--markdown", action="store_true", help="as the table of the README, without looking for files")


def _add_fetch(verbs: "argparse._SubParsersAction[Parser]") -> None:
    what = "download a dataset, check it and unpack it; or say how to get it by hand where that may not be automatic"
    verb = _verb(verbs, "fetch", what)
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_verify(verbs: "argparse._SubParsersAction[Parser]") -> None:
    what = "read every image; report wrong counts and labels, unreadable files, copies and groups with several classes"
    verb = _verb(verbs, "verify", what)
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_prepare(verbs: "argparse._SubParsersAction[Parser]") -> None:
    verb = _verb(verbs, "prepare", "decode all images into the store now, for the sizes of a preset or of a backbone")
    add_geometry(verb)
    add_model(verb)
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_episodes(verbs: "argparse._SubParsersAction[Parser]") -> None:
    what = "write episodes as files (.jsonl, or .csv), so that others can run them; or check such a file"
    verb = _verb(verbs, "episodes", what)
    add_episodes(verb, several_shots=False)
    verb.add_argument("--frozen", action="store_true", help="the list that ships with the package, with file names")
    verb.add_argument("--ranks", action="store_true", help="from the card's counts, images by rank; needs no files")
    verb.add_argument("--verify", type=Path, metavar="FILE", help="check a list against the dataset, and write none")
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <dataset>_<shape>.jsonl")


def _add_show(verbs: "argparse._SubParsersAction[Parser]") -> None:
    verb = _verb(verbs, "show", "a contact sheet of one episode as a PNG, with the predictions of a result")
    add_episodes(verb, several_shots=False)
    verb.add_argument("--episode", type=int, default=0, metavar="I", help="which episode, from 0; default: 0")
    verb.add_argument("--result", type=Path, metavar="FILE", help="a result file: its episodes and predictions")
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <dataset>_episode<I>.png")


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    from fewshot_bn import curation, episode_verbs

    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": curation.list_all,
        "fetch": curation.fetch,
        "verify": curation.verify,
        "prepare": curation.prepare,
        "episodes": episode_verbs.episodes,
        "show": episode_verbs.show,
    }
    return verbs[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
