"""Where caches live, also for a user without a home, as containers have."""

from pathlib import Path

import pytest
from reference.commands import run

from fewshot_bn.errors import UsageError
from fewshot_bn.files.paths import cache_root


@pytest.fixture
def homeless(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("FEWSHOT_BN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)


def test_the_environment_comes_first(homeless, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache_root() == Path("caches/fewshot_bn")
    monkeypatch.setenv("FEWSHOT_BN_CACHE", "mine")
    assert cache_root() == Path("mine")


def test_without_a_home_it_is_said_what_to_set(homeless):
    with pytest.raises(UsageError, match="no home folder is known.*set FEWSHOT_BN_CACHE to a folder"):
        cache_root()


def test_a_run_without_caches_needs_no_home(here, homeless, capsys):
    assert run("--mode", "proto") == 2
    assert capsys.readouterr().err.startswith("error: no home folder is known")
    assert run("--mode", "proto", "--no-store", "--no-feature-cache") == 0
