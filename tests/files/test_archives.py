import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fewshot_bn.errors import DataError
from fewshot_bn.files import archives
from fewshot_bn.files.archives import unpack

FILES = {
    "top.txt": b"top",
    "a/1.bin": bytes(range(256)) * 20,
    "a/b/2.txt": b"two" * 1000,
    "a/empty": b"",
    "c d/é.txt": b"e",
}
TARS = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
COMPRESS = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
}
DAMAGED = "this archive is damaged or truncated; delete it and fetch it again$"


def member(name, kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def tar(path, entries, ending=".tar"):
    """`entries` are pairs of a name or a TarInfo and a content."""
    target = path / f"archive{ending}"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, content in entries:
            info = name if isinstance(name, tarfile.TarInfo) else member(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    target.write_bytes(COMPRESS[ending](stream.getvalue()))
    return target


def zip_info(name, mode=0o100644):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
    return info


def pack_zip(path, entries):
    with zipfile.ZipFile(path / "archive.zip", "w") as file:
        for name, content in entries:
            file.writestr(name if isinstance(name, zipfile.ZipInfo) else zip_info(name), content)
    return path / "archive.zip"


def pack(path, ending, entries):
    return pack_zip(path, entries) if ending == ".zip" else tar(path, entries, ending)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(archive, folder):
    return list(unpack(archive, folder))


def refused(archive, match):
    """Unpacking raises, in one line, and leaves nothing beside the archive."""
    folder = archive.parent / "target"
    with pytest.raises(DataError, match=match) as caught:
        run(archive, folder)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{archive}: ")
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


@pytest.mark.parametrize("ending", [".zip", *TARS])
def test_all_files_are_unpacked_and_how_far_is_told(tmp_path, ending):
    archive = pack(tmp_path, ending, FILES.items())
    told = run(archive, tmp_path / "new" / "target")
    assert contents(tmp_path / "new" / "target") == FILES
    assert (told[0], told[-1]) == (0, sum(map(len, FILES.values())))
    assert told == sorted(told)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"target"}


def test_a_single_compressed_file(tmp_path):
    archive = tmp_path / "train-images.idx.GZ"
    archive.write_bytes(gzip.compress(b"images" * 500_000) + gzip.compress(b"more"))
    assert run(archive, tmp_path / "target") == [0, 2**20, 2**21, 3_000_004]
    assert contents(tmp_path / "target") == {"train-images.idx": b"images" * 500_000 + b"more"}


def test_folders_and_a_dot_in_front(tmp_path):
    folders = [member("./", tarfile.DIRTYPE), member("./a", tarfile.DIRTYPE), member("./empty", tarfile.DIRTYPE)]
    archive = tar(tmp_path, [*((info, b"") for info in folders), ("./a//1", b"1"), (folders[1], b"")])
    run(archive, tmp_path / "target")
    assert contents(tmp_path / "target") == {"a/1": b"1"}
    assert (tmp_path / "target" / "empty").is_dir()
    entries = [("a/", b""), (zip_info("e", 0o40755), b""), ("e/2", b"2")]
    run(pack_zip(tmp_path, entries), tmp_path / "zip")
    assert contents(tmp_path / "zip") == {"e/2": b"2"}
    assert (tmp_path / "zip" / "a").is_dir()


def test_permissions_stay_behind(tmp_path):
    wild = [
        (member("set", mode=0o6777), b""),
        (member("none", mode=0), b""),
        (member("d", tarfile.DIRTYPE, mode=0o1777), b""),
    ]
    run(tar(tmp_path, wild), tmp_path / "target")
    run(pack_zip(tmp_path, [(zip_info("z", 0o106777), b"")]), tmp_path / "target")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "target").iterdir()}
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("")
    file, folder = (stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "file", tmp_path / "new"))
    assert modes == {"set": file, "none": file, "z": file, "d": folder}
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == folder


def test_links_within_a_tar_become_copies(tmp_path):
    links = [
        (member("b/first", tarfile.SYMTYPE, "../a/file"), b""),
        ("a/file", b"content"),
        (member("hard", tarfile.LNKTYPE, "./a/file"), b""),
        (member("a/beside", tarfile.SYMTYPE, "file"), b""),
    ]
    told = run(tar(tmp_path, links, ".tgz"), tmp_path / "target")
    assert contents(tmp_path / "target") == dict.fromkeys(["a/file", "b/first", "hard", "a/beside"], b"content")
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in (tmp_path / "target" / "a").iterdir())
    assert told[-1] == 4 * len(b"content")


def test_what_is_there_stays_and_the_same_is_fine(tmp_path):
    target = tmp_path / "target"
    (target / "a" / "b").mkdir(parents=True)
    (target / "a" / "mine").write_bytes(b"mine")
    (target / "a" / "b" / "2.txt").write_bytes(FILES["a/b/2.txt"])
    archive = tar(tmp_path, FILES.items())
    run(archive, target)
    assert contents(target) == FILES | {"a/mine": b"mine"}
    run(archive, target)
    assert contents(target) == FILES | {"a/mine": b"mine"}


@pytest.mark.parametrize("name", ["a/1.bin", "a", "top.txt/sub", "target"])
def test_another_content_that_is_there_is_named_and_nothing_is_unpacked(tmp_path, name):
    """Also a file where a folder is needed, and the other way round."""
    target = tmp_path / "target"
    mine = target if name == "target" else target / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(bytes(len(FILES["a/1.bin"])))
    clash = mine.parent if name == "top.txt/sub" else mine
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(clash))}: is there already and is not what the archive holds; move"
    ):
        run(tar(tmp_path, FILES.items()), target)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "archive.tar"])


def test_a_dangling_link_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "top.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"top\.txt: is there already"):
        run(tar(tmp_path, FILES.items()), tmp_path / "target")


def test_a_target_on_another_disk_is_reached_through_its_link(tmp_path):
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "target").symlink_to(tmp_path / "disk" / "real")
    steps = unpack(tar(tmp_path, FILES.items()), tmp_path / "target")
    next(steps), next(steps)
    assert [path.name[:6] for path in (tmp_path / "disk" / "real").iterdir()] == [".real-"]
    list(steps)
    assert contents(tmp_path / "disk" / "real") == FILES


BAD_NAMES = [
    (
        "/etc/passwd",
        "'/etc/passwd' has an absolute path; where you trust the archive, unpack it by",
    ),
    ("//host/share", "has an absolute path"),
    ("C:/evil", "'C:/evil' has an absolute path"),
    ("c:evil", "has an absolute path"),
    ("a/c:/evil", "has an absolute path"),
    ("../evil", "'../evil' leads out of the folder"),
    ("a/../../evil", "leads out of the folder"),
    ("a/..", "leads out of the folder"),
    ("..\\evil", r"'..\\\\evil' has a backslash or a zero byte in its name"),
    ("a\\b", "has a backslash or a zero byte in its name"),
    ("top.txt", "'top.txt' is there twice"),
    ("./top.txt", "is there twice"),
    ("a", "'a/1.bin' is inside a file"),
    (".", "has no name"),
]


@pytest.mark.parametrize(("name", "match"), BAD_NAMES)
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_leads_elsewhere_is_refused(tmp_path, ending, name, match):
    refused(pack(tmp_path, ending, [*FILES.items(), (name, b"evil")]), match)


def test_a_folder_of_the_name_of_a_file_is_refused(tmp_path):
    refused(tar(tmp_path, [("a", b""), (member("a", tarfile.DIRTYPE), b"")]), "'a' is there twice")
    refused(tar(tmp_path, [(member("/a", tarfile.DIRTYPE), b"")]), "'/a' has an absolute path")


NO_FILE = "which is no file of this archive; where you trust the archive"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("../../../etc/passwd", r"(\.\./)+etc/passwd"),
        ("missing", "(a/)?missing"),
        (".", r"a|\."),
        ("", r"a|\."),
        ("..\\top.txt", r".*top\.txt"),
        ("link", "(a/)?link"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(tmp_path, kind, link, found):
    archive = tar(tmp_path, [*FILES.items(), (member("a/link", kind, link), b"")])
    refused(archive, rf"the entry 'a/link' is a link to '{found}', {NO_FILE}")


@pytest.mark.parametrize(("kind", "link"), [(tarfile.SYMTYPE, "../a"), (tarfile.LNKTYPE, "a")])
def test_a_link_to_a_folder_is_refused(tmp_path, kind, link):
    entries = [(member("a", tarfile.DIRTYPE), b""), (member("b/link", kind, link), b"")]
    refused(tar(tmp_path, entries), f"the entry 'b/link' is a link to 'a', {NO_FILE}")


def test_nothing_is_written_through_a_link(tmp_path):
    through = [(member("a", tarfile.SYMTYPE, "/tmp"), b""), ("a/evil", b"")]
    refused(tar(tmp_path, through), "'a' is a link to '/tmp', which is no file")
    refused(
        tar(tmp_path, [("f", b""), (member("a", tarfile.SYMTYPE, "f"), b""), ("a/x", b"")]), "'a/x' is inside a file"
    )
    round_ = [(member("a", tarfile.SYMTYPE, "b"), b""), (member("b", tarfile.SYMTYPE, "a"), b"")]
    refused(tar(tmp_path, round_), "'a' is a link to 'b', which is no file")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"?"])
def test_devices_and_pipes_in_a_tar_are_refused(tmp_path, kind):
    refused(tar(tmp_path, [*FILES.items(), (member("odd", kind), b"")]), "the entry 'odd' is a device or a pipe; where")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_devices_and_pipes_in_a_zip_are_refused(tmp_path, kind):
    entries = [*FILES.items(), (zip_info("odd", kind | 0o644), b"/etc/passwd")]
    refused(pack_zip(tmp_path, entries), "the entry 'odd' is a link, a device or a pipe; where you trust the archive")


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = pack_zip(tmp_path, [("secret", b"content")])
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "the entry 'secret' is encrypted; where you trust the archive")


def test_a_zip_that_is_compressed_in_another_way_is_refused(tmp_path):
    """Windows packs large files by Deflate64, number 9."""
    archive = pack_zip(tmp_path, [("large", b"content")])
    content = bytearray(archive.read_bytes())
    content[8] = content[content.index(b"PK\1\2") + 10] = 9
    archive.write_bytes(content)
    refused(archive, "the entry 'large' is compressed in an unknown way, 9; where you trust")


def bomb(path, ending, n_bytes):
    if ending == ".gz":
        (path / "archive.gz").write_bytes(gzip.compress(bytes(n_bytes)))
        return path / "archive.gz"
    return pack(path, ending, [("zeros", bytes(n_bytes))])


@pytest.mark.parametrize("ending", [".gz", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_bomb_is_refused(tmp_path, monkeypatch, ending):
    archive = bomb(tmp_path, ending, 3_000_000)
    monkeypatch.setattr(archives, "BOMB_BYTES", 2_999_999)
    refused(
        archive, r"its [\d,]+ bytes would become 3,000,\d\d\d or more, at most 200 times as many are unpacked; where"
    )
    monkeypatch.setattr(archives, "BOMB_BYTES", 3_001_000)
    run(archive, tmp_path / "target")


def test_a_bomb_is_large_and_far_larger_than_its_archive(tmp_path, monkeypatch, rng):
    assert (archives.BOMB_RATIO, archives.BOMB_BYTES) == (200, 2**30)
    monkeypatch.setattr(archives, "BOMB_BYTES", 0)
    noise = rng.integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    run(tar(tmp_path, [("noise", noise)], ".tgz"), tmp_path / "target")


def test_many_empty_files_many_links_and_a_long_end_are_bombs_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BOMB_BYTES", 300_000)
    refused(tar(tmp_path, [(str(k), b"") for k in range(600)], ".tar.xz"), "would become 300,032 or more")
    links = [(member(str(k), tarfile.LNKTYPE, "a"), b"") for k in range(10)]
    refused(tar(tmp_path, [("a", bytes(50_000)), *links], ".tar.xz"), "would become 305,632 or more")
    archive = tar(tmp_path, [("a", b"")], ".tar.xz")
    archive.write_bytes(archive.read_bytes() + lzma.compress(bytes(2**20)))
    refused(archive, "bytes would become 1,0.* or more")


def test_a_zip_that_states_too_small_a_size_is_damaged(tmp_path):
    archive = pack_zip(tmp_path, [("zeros", bytes(5000))])
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<L", 5000), struct.pack("<L", 10)))
    refused(archive, DAMAGED)


@pytest.mark.parametrize("n_stated", [5, 7])
def test_a_content_of_another_length_than_stated_is_damaged(tmp_path, monkeypatch, n_stated):
    monkeypatch.setattr(archives, "_n_bytes_left", lambda archive, stream: n_stated)
    (tmp_path / "archive.gz").write_bytes(gzip.compress(b"123456"))
    refused(tmp_path / "archive.gz", DAMAGED)


@pytest.mark.parametrize("ending", [".zip", ".gz", *TARS])
def test_a_truncated_archive_is_damaged_wherever_it_ends(tmp_path, ending, rng):
    files = {"a": rng.integers(0, 256, 3000, dtype=np.uint8).tobytes(), "b/c": b"c" * 1000}
    if ending == ".gz":
        archive = tmp_path / "archive.gz"
        archive.write_bytes(gzip.compress(files["a"]))
    else:
        archive = pack(tmp_path, ending, files.items())
    content = archive.read_bytes()
    end = len(content.rstrip(b"\0")) if ending == ".tar" else len(content)
    for n_bytes in {*range(0, end, 97), *range(0, end, 512), end - 1}:
        archive.write_bytes(content[:n_bytes])
        refused(archive, DAMAGED)


@pytest.mark.parametrize("ending", [".zip", ".gz", *TARS])
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path, ending, rng):
    """Only names, and the contents of a plain tar, have no checksum."""
    files = {"a": rng.integers(0, 256, 600, dtype=np.uint8).tobytes(), "b/c": b"c" * 900}
    archive = pack(tmp_path, ending, files.items()) if ending != ".gz" else tmp_path / "a.gz"
    if ending == ".gz":
        archive.write_bytes(gzip.compress(files.pop("a")))
    content = archive.read_bytes()
    for place in rng.choice(len(content), 150):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        archive.write_bytes(flipped)
        with contextlib.suppress(DataError):
            run(archive, tmp_path / "target")
            assert ending in {".zip", ".tar", ".gz"} or contents(tmp_path / "target") == files
        shutil.rmtree(tmp_path / "target", ignore_errors=True)
        assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_name_that_is_no_text_is_damaged(tmp_path):
    archive = pack_zip(tmp_path, FILES.items())
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xff\xff"))
    refused(archive, DAMAGED)


def test_a_broken_header_amid_a_tar_is_not_its_end(tmp_path):
    archive = tar(tmp_path, FILES.items())
    content = bytearray(archive.read_bytes())
    content[content.index(b"a/b/2.txt")] ^= 1
    archive.write_bytes(content)
    refused(archive, DAMAGED)


@pytest.mark.parametrize("ending", [".zip", ".gz", *TARS])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(10240)])
def test_what_is_no_archive_or_holds_nothing(tmp_path, ending, content):
    (tmp_path / f"archive{ending}").write_bytes(content)
    refused(tmp_path / f"archive{ending}", DAMAGED)


@pytest.mark.parametrize("name", ["archive.rar", "archive.7z", "tar"])
def test_an_unknown_kind_of_archive(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    refused(tmp_path / name, r"unknown kind of archive; \.tar, .*\.zip, \.gz can be unpacked, others by hand")


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.zip: cannot be unpacked into .*/b: No such file or directory; mend that and"
    ):
        run(tmp_path / "a.zip", tmp_path / "b")


def test_a_small_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    archive = tar(tmp_path, [("a", bytes(5000)), (member("b", tarfile.LNKTYPE, "a"), b"")])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=9_999))
    with pytest.raises(DataError, match="target: 0.00 GB are free there, 0.00 GB are needed; make room"):
        run(archive, tmp_path / "new" / "target")
    assert list(tmp_path.iterdir()) == [archive]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10_000))
    run(archive, tmp_path / "new" / "target")


class FullDisk(io.FileIO):
    def write(self, block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Interrupted(io.FileIO):
    def write(self, block):
        raise KeyboardInterrupt("by hand")


@pytest.mark.parametrize(
    ("disk", "error", "match"),
    [
        (FullDisk, DataError, "cannot be unpacked into .*target: No space left on device; mend that and run the same"),
        (Interrupted, KeyboardInterrupt, "by hand"),
    ],
)
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, disk, error, match):
    archive = tar(tmp_path, FILES.items())
    path_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode: disk(self, "x") if self.name == "1.bin" else path_open(self, mode)
    )
    with pytest.raises(error, match=match):
        run(archive, tmp_path / "target")
    assert list(tmp_path.iterdir()) == [archive]


def test_nothing_is_seen_before_all_is_whole(tmp_path):
    archive = tar(tmp_path, FILES.items())
    steps = unpack(archive, tmp_path / "target")
    for _ in range(4):
        next(steps)
        assert not (tmp_path / "target").exists()
    assert [path.name[:8] for path in tmp_path.iterdir() if path != archive] == [".target-"]
    steps.close()
    assert list(tmp_path.iterdir()) == [archive]
