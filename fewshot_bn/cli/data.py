"""The verb data: its arguments, and which function does what they ask for."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from fewshot_bn.cli.options import Parser, add_options, add_single_episode_options, at_least, run_verb
from fewshot_bn.config import FewShotConfig

Add = Callable[..., Parser]  # add_parser of subparsers
FILES = "an image folder, a CSV table (path, label[, group]), a list (name number), an HDF5, NPZ, Parquet or tar file"
EXAMPLES = """\
examples:
  python -m fewshot_bn.data list --data-root ~/data
  python -m fewshot_bn.data fetch eurosat --data-root ~/data
  python -m fewshot_bn.data verify isic --data-root ~/data
  python -m fewshot_bn.data prepare chestx --preset cdfsl --data-root ~/data
  python -m fewshot_bn.data episodes eurosat --frozen --output episodes.csv
  python -m fewshot_bn.data episodes path/to/folder --n-support 20 --by-group --output mine.jsonl
  python -m fewshot_bn.data split eurosat --seed 1 --output eurosat.csv
  python -m fewshot_bn.data show eurosat --episode 3 --result results/eurosat_....json"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m fewshot_bn.data",
        description="Datasets: list, fetch, verify and prepare them, keep episodes and splits in files, look at one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_subparsers(dest="verb", required=True, metavar="VERB").add_parser
    for verb in (_add_list, _add_fetch, _add_verify, _add_prepare, _add_episodes, _add_split, _add_show):
        verb(add)
    return parser


def _verb(add: Add, name: str, what: str, *, files: str = FILES) -> Parser:
    verb = add(name, help=what, description=what, allow_abbrev=False)
    verb.add_argument(
        "dataset",
        metavar="NAME|PATH",
        help=f"a known dataset (see list), {files + ', ' if files else ''}or a card (.toml)",
    )
    add_options(verb, FewShotConfig, ["data_root"])
    return verb


def _add_list(add: Add) -> None:
    what = "the known datasets, and what of them is under the data root"
    verb = add("list", help=what, description=what, allow_abbrev=False)
    add_options(verb, FewShotConfig, ["data_root"])
    verb.add_argument("--markdown", action="store_true", help="as the table of docs/data.md, without looking for files")


def _add_fetch(add: Add) -> None:
    what = "download a dataset, check it and unpack it; or say how to get it by hand where that may not be automatic"
    _add_quiet(_verb(add, "fetch", what, files=""))


def _add_verify(add: Add) -> None:
    what = "read every image; report wrong counts and labels, unreadable files, copies and groups with several classes"
    _add_quiet(_verb(add, "verify", f"{what}; exit status 1 where something is wrong"))


def _add_prepare(add: Add) -> None:
    verb = _verb(add, "prepare", "decode all images into the store now, for the sizes of a preset or of a backbone")
    add_options(verb, FewShotConfig, ["preset", "image_px", "model", "preprocessing"])
    _add_quiet(verb)


def _add_quiet(verb: Parser) -> None:
    verb.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _add_episodes(add: Add) -> None:
    what = "write episodes as files (.jsonl, or .csv), so that others can run them; or check such a file"
    verb = _verb(add, "episodes", what)
    add_single_episode_options(verb, FewShotConfig)
    verb.add_argument("--frozen", action="store_true", help="the list that ships with the package, with file names")
    verb.add_argument("--ranks", action="store_true", help="from the card's counts, images by rank; needs no files")
    verb.add_argument("--verify", type=Path, metavar="FILE", help="check a list against the dataset, and write none")
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <dataset>_<shape>_<kind>.jsonl, here")


def _add_split(add: Add) -> None:
    what = "write which images are for training, validation and testing (many-shot) as a CSV table for --split"
    verb = _verb(add, "split", f"{what}: as the files say, else drawn with the seed")
    verb.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of what is drawn; default: %(default)s")
    per_class = (
        "draw N of each class for training and validation, the others for testing, as usual for Caltech 101 (30)"
    )
    verb.add_argument("--per-class", type=at_least(2), metavar="N", help=per_class)
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <dataset>_split_seed<N>.csv, here")


def _add_show(add: Add) -> None:
    verb = _verb(add, "show", "a contact sheet of one episode as a PNG, with the predictions of a result")
    add_single_episode_options(verb, FewShotConfig)
    verb.add_argument("--episode", type=at_least(0), default=0, metavar="I", help="which one, from 0; default: 0")
    verb.add_argument("--result", type=Path, metavar="FILE", help="a result file: its episodes and predictions")
    verb.add_argument("--output", type=Path, metavar="FILE", help="default: <dataset>_episode<I>.png, here")


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    from fewshot_bn.cli import datasets, episodes, splits

    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": datasets.list_all,
        "fetch": datasets.fetch,
        "verify": datasets.verify,
        "prepare": datasets.prepare,
        "episodes": episodes.episodes,
        "split": splits.split,
        "show": episodes.show,
    }
    return verbs[arguments.verb](arguments)
