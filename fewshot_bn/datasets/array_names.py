"""What the arrays of a file are called: `images`, `x`, `train_images`, `x_train`, and what they are."""

import re

from fewshot_bn.datasets.split_names import NAMES

KEYS = {"images": ("images", "x", "X", "data"), "labels": ("labels", "y", "Y", "targets"), "groups": ("groups",)}
PREFIXES = ("", *(f"{split}_" for split in NAMES))
KNOWN = {"class_names", *(prefix + name for prefix in PREFIXES for names in KEYS.values() for name in names)}
SPLIT_LAST = re.compile(rf"({'|'.join(name for names in KEYS.values() for name in names)})_({'|'.join(NAMES)})")


def canonical(name: str) -> str:
    """`x_train` as `train_x`; other names as they are."""
    parts = SPLIT_LAST.fullmatch(name)
    return f"{parts[2]}_{parts[1]}" if parts else name
