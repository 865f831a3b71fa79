"""Where things live: the cards that ship with the package, the data of the user, the caches.

Environment: FEWSHOT_BN_DATA (data root, default `data` in the working directory) and FEWSHOT_BN_CACHE (default
`fewshot_bn` in the user's cache folder).
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
DEFAULT_MODEL = "fractal_resnet8"  # the one whose weights ship with the package


def shipped(kind: str) -> Path:
    """The folder `episodes` or `models`: inside an installed package, or at the root of a checkout."""
    installed = _PACKAGE / "_data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def data_root() -> Path:
    return Path(os.environ.get("FEWSHOT_BN_DATA") or "data")


def cache_root() -> Path:
    chosen = os.environ.get("FEWSHOT_BN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewshot_bn"


def store_root() -> Path:
    """Where decoded images are kept."""
    return cache_root() / "stores"
