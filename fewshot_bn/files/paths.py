"""Where things live: the cards that ship with the package, the data of the user, the caches.

Environment: FEWSHOT_BN_DATA (data root, default `data` in the working directory), FEWSHOT_BN_CACHE (default
`fewshot_bn` in the user's cache folder) and FEWSHOT_BN_MODELS (files of weights, default `models` in the cache).
"""

import os
from pathlib import Path

from fewshot_bn.errors import UsageError

_PACKAGE = Path(__file__).parent.parent
DEFAULT_MODEL = "fractal_resnet8"  # the one whose weights ship with the package


def shipped(kind: str) -> Path:
    """The folder `episodes` or `models`: inside an installed package, or at the root of a checkout."""
    installed = _PACKAGE / "_data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def data_root() -> Path:
    return Path(os.environ.get("FEWSHOT_BN_DATA") or "data")


def cache_root() -> Path:
    """Raises `UsageError` where the environment names no place and the user has no home."""
    chosen, caches = os.environ.get("FEWSHOT_BN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen)
    try:
        return Path(caches or Path.home() / ".cache") / "fewshot_bn"
    except RuntimeError as problem:
        raise UsageError(
            "no home folder is known, as HOME is not set and this user has none, so there is no place for caches: set "
            "FEWSHOT_BN_CACHE to a folder, or give --no-store and --no-feature-cache"
        ) from problem


def model_root() -> Path:
    """Where files of weights lie."""
    chosen = os.environ.get("FEWSHOT_BN_MODELS")
    return Path(chosen) if chosen else cache_root() / "models"


def store_root() -> Path:
    """Where decoded images are kept."""
    return cache_root() / "stores"
