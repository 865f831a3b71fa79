"""Folders, columns and arrays that are called like a split: train, Training, valid, test_set."""

import re
from collections.abc import Collection

CALLED = (
    ("train", "training", "trn"),
    ("val", "valid", "validation", "dev", "development"),
    ("test", "testing", "tst", "eval", "evaluation"),
)
NAMES = {name: number for number, names in enumerate(CALLED) for name in names}
BEFORE = r"(?:\d{1,2}[ _.-])?(?:(?:seg|images?|data|dataset|partial)[ _.-])?"
AFTER = r"(?:[ _.-]?(?:set|data|dataset|split|folder|images?|imgs?|(?:19|20)\d\d))?"
PATTERN = re.compile(f"{BEFORE}({'|'.join(NAMES)}){AFTER}", re.IGNORECASE)
PARTS = re.compile(
    r"(?:k[ _.-]?)?(?:fold|split|cv|partition|shard|chunk)[ _.-]?\d+|(?:base|novel|seen|unseen)(?:[ _.-]?classes)?",
    re.IGNORECASE,
)
UNLABELLED = re.compile(rf"{BEFORE}(?:pred|predict|prediction|unlabell?ed|submission)s?{AFTER}", re.IGNORECASE)


def are_parts(names: Collection[str]) -> bool:
    """Whether all are called like parts of a dataset: fold1, fold2; base, novel, val."""
    return all(PARTS.fullmatch(name) or split_number(name) >= 0 for name in names)


def is_unlabelled(name: str) -> bool:
    """Whether a folder is called like one of images without labels: predict, unlabeled, seg_pred."""
    return UNLABELLED.fullmatch(name) is not None


def split_number(name: str) -> int:
    """The number of the split that is called so; -1 for any other name."""
    called = PATTERN.fullmatch(name.strip())
    return NAMES[called[1].lower()] if called else -1
