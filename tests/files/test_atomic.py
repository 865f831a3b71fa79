import errno
import hashlib
import os
import shutil
import threading
import time
from types import SimpleNamespace

import pytest

from fewshot_bn.errors import DataError, StoreError
from fewshot_bn.files.atomic import check_free, digest, hash_of, locked, make_folder, replace_file, replacing, sha256_of


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"old", b"new"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False])
def test_an_error_half_way_leaves_what_was_there(tmp_path, there):
    path = tmp_path / "a.json"
    if there:
        path.write_bytes(b"old")

    def stopped():
        with replacing(path) as half_made:
            half_made.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"] * there


def test_a_file_gets_its_name_only_once_it_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_size))
    with replacing(tmp_path / "a") as half_made:
        half_made.write_bytes(b"1234")
        assert not (tmp_path / "a").exists()
    assert synced == [4]


def test_a_lock_that_is_held_is_told_once_and_waited_for(tmp_path, caplog):
    entered = []

    def second():
        with locked(tmp_path / ".lock", "waiting for it"):
            entered.append(time.monotonic())

    with locked(tmp_path / ".lock", "nobody holds it"):
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (caplog.messages, entered) == (["waiting for it"], [])
    thread.join(10)
    assert (caplog.messages, len(entered)) == (["waiting for it"], 1)


def test_a_digest_tells_where_its_parts_begin():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest([b"ab", 3]) == digest(["ab", "3"])
    expected = hashlib.sha256((2).to_bytes(8, "little") + b"ab").hexdigest()
    assert digest(["ab"]) == expected


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123")
    assert sha256_of(path) == hashlib.sha256(b"123").hexdigest()
    md5 = hash_of(path, "md5")
    md5.update(b"4")
    assert md5.hexdigest() == hashlib.md5(b"1234").hexdigest()


@pytest.mark.parametrize("error", [DataError, StoreError])
def test_too_little_room_is_an_error_of_the_kind_asked_for(tmp_path, monkeypatch, error):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10**9))
    check_free(tmp_path / "not" / "there", 10**9, error)
    with pytest.raises(error, match=r"there: 1\.00 GB are free there, 2\.00 GB are needed; make room"):
        check_free(tmp_path / "not" / "there", 2 * 10**9, error)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_gone_on_with_and_said(tmp_path, monkeypatch, caplog, number):
    def no_locks(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    for _ in range(3):
        with locked(tmp_path / ".lock", "nobody holds it"):
            (tmp_path / "a").write_bytes(b"done")
    expected = [] if number == errno.ENOSYS else [f"{tmp_path}: this file system has no locks; let no two runs"]
    assert [text[: len(expected[0])] for text in caplog.messages] == expected
    assert (tmp_path / "a").read_bytes() == b"done"


def test_another_failure_of_a_lock_is_an_error(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path / ".lock", "nobody holds it"):
        raise AssertionError


def test_a_path_of_too_many_folders_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(OSError, match="File name too long"):
        make_folder(tmp_path / ("x/" * 2000))
