"""Archives: unpacked whole or not at all, and never outside their folder."""

import gzip
import io
import shutil
import tarfile
import zipfile

import pytest
from fuzz.mutations import PATHS, TEXTS, damaged
from fuzz.trial import survive, tiers

from fewshot_bn.errors import FewshotError
from fewshot_bn.files.archives import unpack

FILES = {"a/1.png": b"one" * 50, "a/2.png": b"", "b/c/3.txt": bytes(range(256)) * 5, "b/same": b"one" * 50}
NAMES = [
    *(name for name in (*TEXTS, *PATHS) if 0 < len(name) < 200 and name.isprintable()),
    "a",
    "a/1.png/x",
    "a/./1.png",
]


def made(kind, names):
    """An archive of `FILES` under these names."""
    memory = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in zip(names, FILES.values(), strict=True):
                archive.writestr(name, content)
        return memory.getvalue()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in zip(names, FILES.values(), strict=True):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, names[0]
        archive.addfile(link)
    return memory.getvalue() if kind == "tar" else gzip.compress(memory.getvalue(), mtime=0)


def tree_of(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@tiers(30, 500)
def test_archives(tmp_path, kind, numbers):
    path = tmp_path / "in" / f"x.{kind}"
    path.parent.mkdir()
    path.write_bytes(made(kind, list(FILES)))
    list(unpack(path, tmp_path / "right"))
    right = tree_of(tmp_path / "right")
    assert set(FILES) <= set(right)

    def trial(rng):
        names = list(FILES)
        names[rng.integers(len(names))] = NAMES[rng.integers(len(NAMES))]
        content = made(kind, names if rng.random() < 0.4 else list(FILES))
        path.write_bytes(damaged(rng, content) if rng.random() < 0.8 else content)
        before = tree_of(tmp_path)
        target = tmp_path / f"out{rng.integers(2**60)}"
        try:
            list(unpack(path, target))
        except FewshotError:
            assert tree_of(tmp_path) == before
            raise
        found = {name: content for name, content in tree_of(tmp_path).items() if name not in before}
        assert all(name.split("/")[0] == target.name for name in found)
        if kind != "tar":  # which has no checksums of what it holds
            assert {*filter(None, found.values())} <= {*right.values()}
        shutil.rmtree(target)

    survive(trial, numbers)
