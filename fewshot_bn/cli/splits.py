"""The verb split of data.py: which images are for training, validation and testing. Returns its exit status."""

import shlex
from argparse import Namespace
from pathlib import Path

from fewshot_bn.cli.datasets import open_named
from fewshot_bn.cli.episodes import default_file
from fewshot_bn.datasets import splits
from fewshot_bn.datasets.split_lists import text_of
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.files.atomic import replace_file


def split(arguments: Namespace) -> int:
    dataset, seed, n = open_named(arguments), arguments.seed, arguments.per_class
    drawn = splits.split_of(dataset, seed) if n is None else splits.split_per_class(dataset, seed, n)
    kind = [] if n is None else [f"{n}-per-class"]
    path = arguments.output or default_file(dataset.name, "split", *kind, f"seed{seed}", suffix=".csv")
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--output {path}: a list of a split is a CSV table; choose a name that ends in .csv")
    if path.resolve() == Path(arguments.dataset).resolve():
        raise UsageError(
            f"--output {path}: is the dataset itself, whose other columns would be lost; choose another name"
        )
    _write(path, text_of(dataset, splits.numbers_of(drawn, len(dataset))))
    for notice in (*dataset.notices, *splits.findings(dataset, drawn)):
        print(f"note: {notice}")
    n_train, n_val, n_test = (f"{len(rows):,}" for rows in (drawn.train, drawn.val, drawn.test))
    print(f"{n_train} training, {n_val} validation and {n_test} test images, {drawn.origin}, are in {path}")
    root = ["--data-root", arguments.data_root] if arguments.data_root else []
    words = ["--regime", "many-shot", "--dataset", arguments.dataset, *root, "--split", path]
    print(f"run it: python -m fewshot_bn.eval {shlex.join(map(str, words))}")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        if path.is_dir():
            raise DataError(f"{path}: this list cannot be written: it is a folder; name a file in it")
        replace_file(path, text.encode())
    except OSError as problem:
        raise DataError(f"{path}: this list cannot be written: {problem.strerror}") from problem
