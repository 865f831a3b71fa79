"""Before anything of the package is imported: threads, checks of types, tiers of tests.

Tiers: `default` is what a plain `pytest` runs. `-m full`, the tier of CI, adds the tests marked `full`. Outside of both
are `nightly`, `network` and `gpu`. The contract of the adapters is checked in every tier against the shapes and types
in its signatures, everything else of the package in every tier but the default one, where that would cost too much.

The scripts in benchmarks/ are a package here without the root of the repository on the path, so that what is tested is
the package that is installed.
"""

import importlib.util
import os
import pkgutil
import signal
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

signal.signal(signal.SIGINT, signal.default_int_handler)  # which jobs in the background ignore, and their children
os.environ["OMP_NUM_THREADS"] = "1"  # inherited by child processes; tiny tensors are slower on several threads

OUTSIDE = ("nightly", "network", "gpu")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "__init__.py"


def pytest_configure(config: pytest.Config) -> None:
    checked = ["fewshot_bn.adapters"] if config.option.markexpr == "default" else everything()
    install_import_hook(checked, "beartype.beartype")
    spec = importlib.util.spec_from_file_location("benchmarks", BENCHMARKS)
    sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    config.pluginmanager.import_plugin("reference.fixtures")


def everything() -> list[str]:
    """All of the package but `config`, whose fields also take texts, which become paths after they are checked."""
    spec = importlib.util.find_spec("fewshot_bn")
    return [
        f"fewshot_bn.{found.name}"
        for found in pkgutil.iter_modules(spec.submodule_search_locations)
        if found.name != "config"
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every test into its tiers, before pytest selects those of the one that is asked for."""
    for item in items:
        if any(item.get_closest_marker(name) for name in OUTSIDE):
            continue
        if not item.get_closest_marker("full"):
            item.add_marker("default")
        item.add_marker("full")
