"""Folders, columns and arrays that are called like a split: train, Training, valid, test_set."""

import re
from collections.abc import Collection

CALLED = (
    ("train", "training", "trn"),
    ("val", "valid", "validation", "dev", "development"),
    ("test", "testing", "tst", "eval", "evaluation"),
)
NAMES = {name: number for number, names in enumerate(CALLED) for name in names}
BEFORE = r"(?:(?:seg|images?|data|dataset)[ _.-])?"
AFTER = r"(?:[ _.-]?(?:set|data|dataset|split|folder|images?|imgs?|(?:19|20)\d\d))?"
PATTERN = re.compile(f"{BEFORE}({'|'.join(NAMES)}){AFTER}", re.IGNORECASE)
PARTS = re.compile(r"(?:k[ _.-]?)?(?:fold|split|cv|partition|shard|chunk)[ _.-]?\d+", re.IGNORECASE)


def are_parts(names: Collection[str]) -> bool:
    """Whether all are called like parts of a dataset: fold1, fold2."""
    return all(map(PARTS.fullmatch, names))


def split_number(name: str) -> int:
    """The number of the split that is called so; -1 for any other name."""
    called = PATTERN.fullmatch(name.strip())
    return NAMES[called[1].lower()] if called else -1
