import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError, StoreError
from fewshot_bn.files import atomic
from fewshot_bn.files.atomic import write_at
from fewshot_bn.inputs import decoding, store
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing, pixels_of, with_geometry

GEOMETRY = Preprocessing(10, 8)
ALL = np.arange(29)


@pytest.fixture
def dataset(image_folder):
    return open_dataset(str(image_folder))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "stores"


def contents(kept, rows):
    out = np.empty((len(rows), 8, 8, 3), np.uint8)
    for place, row in enumerate(rows):
        kept.read(int(row), out[place])
    return out


def expected(dataset, rows, geometry=GEOMETRY):
    return np.stack([pixels_of(dataset.read(int(row)), geometry) for row in rows])


def test_rows_are_those_of_pil_bit_for_bit(dataset, folder):
    kept = Store(dataset, GEOMETRY, folder)
    assert sum(kept.fill(ALL)) == 29
    assert (kept.n_filled, len(kept.missing(ALL))) == (29, 0)
    np.testing.assert_array_equal(contents(kept, ALL), expected(dataset, ALL))


@needs_shared
@pytest.mark.parametrize("name", ["eurosat", "cropdisease", "isic", "chestx"])
@pytest.mark.parametrize("preset", ["cdfsl", "paper"])
def test_real_images_are_those_of_pil_bit_for_bit(name, preset, folder):
    dataset = open_dataset(name, root=SHARED / "data")
    geometry = with_geometry(Preprocessing(), preset, None, dataset.first_resize_px)
    rows = np.arange(0, len(dataset), len(dataset) // 9)
    kept = Store(dataset, geometry, folder)
    list(kept.fill(rows))
    out = np.empty((224, 224, 3), np.uint8)
    for row in rows.tolist():
        kept.read(row, out)
        np.testing.assert_array_equal(out, pixels_of(dataset.read(row), geometry))


def test_the_processes_of_a_large_dataset_write_the_same(dataset, folder, monkeypatch):
    monkeypatch.setattr("fewshot_bn.workers.FEW", 5)
    kept = Store(dataset, GEOMETRY, folder)
    assert sum(kept.fill(ALL, n_workers=2)) == 29
    np.testing.assert_array_equal(contents(kept, ALL), expected(dataset, ALL))


def test_only_what_is_missing_is_decoded(dataset, folder):
    reads = []
    counted = replace(dataset, read=lambda row: reads.append(row) or dataset.read(row))
    kept = Store(counted, GEOMETRY, folder)
    list(kept.fill(np.array([7, 3, 7])))
    assert sorted(reads) == [3, 7]
    again = Store(counted, GEOMETRY, folder)
    assert again.missing(np.array([3, 4, 7, 4])).tolist() == [4]
    assert list(again.fill(np.array([3, 4, 7]))) == [1]
    assert sorted(reads) == [3, 4, 7]
    np.testing.assert_array_equal(contents(again, [3, 4, 7]), expected(dataset, [3, 4, 7]))


def test_the_file_is_of_use_to_others(dataset, folder):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(np.arange(5)))
    with h5py.File(kept.path) as file:
        np.testing.assert_array_equal(file["pixels"][:5], expected(dataset, range(5)))
        assert file["filled"][:].tolist() == [1] * 5 + [0] * 24
        assert [name.decode() for name in file["ids"][:]] == list(dataset.ids)
        assert [name.decode() for name in file["class_names"][:]] == list(dataset.class_names)
        assert file["labels"][:].tolist() == dataset.labels.tolist()
        assert file.attrs["fingerprint"].decode() == dataset.fingerprint


def test_another_geometry_or_another_dataset_is_another_store(dataset, folder):
    paths = {Store(dataset, geometry, folder).path for geometry in (GEOMETRY, Preprocessing(9, 8), Preprocessing(8, 8))}
    assert len(paths) == 3
    same = replace(GEOMETRY, mean=(0.1, 0.2, 0.3))
    assert Store(dataset, same, folder).path in paths


def test_changed_files_make_another_store_and_the_old_one_is_named(dataset, folder, image_folder):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    shutil.copy(image_folder / "c" / "1.png", image_folder / "c" / "0.png")
    changed = open_dataset(str(image_folder))
    other = Store(changed, GEOMETRY, folder)
    (notice,) = other.notices
    assert other.n_filled == 0
    assert notice.startswith(f"{kept.path} is of other files than those of today")
    assert notice.endswith("delete it, unless other data of this name need it")
    list(other.fill(ALL))
    np.testing.assert_array_equal(contents(other, ALL), expected(changed, ALL))


def test_all_unreadable_images_are_named_at_once_and_the_others_kept(dataset, folder, image_folder):
    for name, content in (("0.png", b"no image"), ("3.png", (image_folder / "c" / "3.png").read_bytes()[:80])):
        (image_folder / "c" / name).write_bytes(content)
    (image_folder / "d e" / "2.png").unlink()
    kept = Store(dataset, GEOMETRY, folder)
    with pytest.raises(DataError) as caught:
        list(kept.fill(ALL))
    message = str(caught.value)
    assert message.startswith("shapes: 3 images cannot be read: 'c/0.png' (row 12) it is no image; 'c/3.png' (row 15)")
    assert "'d e/2.png' (row 23)" in message
    assert kept.missing(ALL).tolist() == [12, 15, 23]


def test_very_many_unreadable_images_make_no_endless_line(dataset, folder):
    kept = Store(replace(dataset, read=lambda row: b""), GEOMETRY, folder)
    with pytest.raises(
        DataError, match="29 images cannot be read: .* and 19 more; get these files again or remove them"
    ):
        list(kept.fill(ALL))


def test_a_full_disk_keeps_what_was_written(dataset, folder, monkeypatch):
    written = []

    def write_until_full(file, data, at):
        if len(written) == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(at)
        write_at(file, data, at)

    monkeypatch.setattr("fewshot_bn.workers.ROWS", 4)
    monkeypatch.setattr(decoding, "write_at", write_until_full)
    kept = Store(dataset, GEOMETRY, folder)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device; 8 images are kept in it, and"):
        list(kept.fill(ALL, n_workers=1))
    monkeypatch.undo()
    again = Store(dataset, GEOMETRY, folder)
    assert (again.n_filled, sum(again.fill(ALL))) == (8, 21)
    np.testing.assert_array_equal(contents(again, ALL), expected(dataset, ALL))


def test_a_write_that_is_cut_short_goes_on(dataset, folder, monkeypatch):
    os_write = os.write
    monkeypatch.setattr(atomic.os, "write", lambda file, data: os_write(file, data[:50]))
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    np.testing.assert_array_equal(contents(kept, ALL), expected(dataset, ALL))


def test_too_little_disk_is_said_before_anything_is_decoded(dataset, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10**7))
    with pytest.raises(StoreError, match=r"stores: 0\.01 GB are free there, 0\.07 GB are needed; make room"):
        list(Store(dataset, GEOMETRY, folder).fill(ALL))


def test_a_folder_that_cannot_be_written(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="this store cannot be written: "):
        list(Store(dataset, GEOMETRY, tmp_path / "file" / "stores").fill(ALL))


def damage(path, how):
    if how == "cut off":
        os.truncate(path, path.stat().st_size - 500)
    elif how == "no HDF5":
        path.write_bytes(b"hello")
    else:
        with h5py.File(path, "r+") as file:
            if how == "lacks its pixels":
                del file["pixels"]
            elif how in ("pixels", "filled"):
                del file[how]
                file.create_group(how)
            else:
                file.attrs[how] = 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut off", "not a whole store, or a damaged one"),
        ("no HDF5", "not a whole store, or a damaged one"),
        ("lacks its pixels", "not a whole store, or a damaged one"),
        ("pixels", "not a whole store, or a damaged one"),
        ("filled", "not a whole store, or a damaged one"),
        ("format", f"this store is of format 0, format {store.FORMAT} is needed; delete it"),
        ("key", "this store is of other files or sizes than its name says; delete it"),
    ],
)
def test_what_is_not_a_whole_store_is_an_error(dataset, folder, how, message):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    damage(kept.path, how)
    with pytest.raises(StoreError, match=message):
        Store(dataset, GEOMETRY, folder)


def test_without_preadv_rows_are_read_all_the_same(dataset, folder, monkeypatch):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    monkeypatch.delattr(atomic.os, "preadv")
    np.testing.assert_array_equal(contents(Store(dataset, GEOMETRY, folder), ALL), expected(dataset, ALL))
    os.truncate(kept.path, 3000)
    with pytest.raises(StoreError, match="this store is damaged"):
        contents(kept, [28])


def test_a_file_cut_off_while_it_is_open_is_an_error(dataset, folder):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    os.truncate(kept.path, 3000)
    with pytest.raises(StoreError, match="this store is damaged"):
        contents(kept, [28])


def test_changed_pixels_are_an_error_that_names_the_store(dataset, folder):
    kept = Store(dataset, GEOMETRY, folder)
    list(kept.fill(ALL))
    with h5py.File(kept.path, "r+") as file:
        file["pixels"][7, 0, 0, 0] ^= 1
    again = Store(dataset, GEOMETRY, folder)
    contents(again, [6, 8])
    with pytest.raises(StoreError, match=r"\.h5: this store is damaged \(wrong checksum of .*, row 7\); delete it"):
        contents(again, [7])


def test_stores_of_other_code_are_not_used(dataset, folder, monkeypatch):
    before = Store(dataset, GEOMETRY, folder).path
    monkeypatch.setattr(store, "CODE", ("preprocessing.py",))
    assert Store(dataset, GEOMETRY, folder).path != before


def test_a_limit_on_file_sizes_is_an_error_in_one_line(dataset, folder, image_folder):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError, match="this store cannot be written: File too large"):
            list(Store(dataset, GEOMETRY, folder).fill(ALL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(folder.glob("*.h5"))


FILLING = """
import sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from fewshot_bn import workers
from fewshot_bn.datasets import open_dataset
from fewshot_bn.inputs import store
from fewshot_bn.preprocessing import Preprocessing
store.COMMIT_S = 0
workers.ROWS = 2
dataset = open_dataset(sys.argv[1])
def read(row):
    if row == 8:
        sys.stdin.readline()
    return dataset.read(row)
kept = store.Store(replace(dataset, read=read), Preprocessing(10, 8), Path(sys.argv[2]))
for n_parts, _ in enumerate(kept.fill(np.arange(29), n_workers=1), 1):
    print(n_parts, flush=True)
    time.sleep(0.1)
"""


@contextlib.contextmanager
def filling(image_folder, folder):
    """A process that has done 4 parts of 2 rows, and holds the store until it is told to go on."""
    command = [sys.executable, "-c", FILLING, str(image_folder), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert [process.stdout.readline() for _ in range(4)] == ["1\n", "2\n", "3\n", "4\n"]
            yield process
        finally:
            process.kill()


def assert_gone_on_with(kept, dataset):
    filled = np.flatnonzero(~kept.absent(ALL))
    np.testing.assert_array_equal(contents(kept, filled), expected(dataset, filled))
    assert sum(kept.fill(ALL)) == 29 - len(filled)
    np.testing.assert_array_equal(contents(kept, ALL), expected(dataset, ALL))


@pytest.mark.nightly
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_is_gone_on_with(dataset, folder, image_folder, how):
    with filling(image_folder, folder) as process:
        process.send_signal(how)
        process.communicate()
    kept = Store(dataset, GEOMETRY, folder)
    assert 2 <= kept.n_filled <= 8
    assert_gone_on_with(kept, dataset)


class AtOnce(Executor):
    """Does what is submitted before `submit` returns."""

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done


@pytest.mark.parametrize(("how", "commit_s"), [("killed", -1), ("interrupted", 3600)])
def test_a_run_that_is_left_in_the_middle_is_gone_on_with(dataset, folder, tmp_path, monkeypatch, how, commit_s):
    monkeypatch.setattr("fewshot_bn.workers.ROWS", 2)
    monkeypatch.setattr(store, "COMMIT_S", commit_s)
    monkeypatch.setattr(store, "ThreadPoolExecutor", lambda n: AtOnce())
    steps = Store(dataset, GEOMETRY, folder).fill(ALL, n_workers=1)
    for _ in range(4):
        next(steps)
    left = shutil.copytree(folder, tmp_path / "left")  # what is on the disk now is what a killed run leaves
    steps.close()
    kept = Store(dataset, GEOMETRY, left if how == "killed" else folder)
    assert kept.n_filled == 8
    assert_gone_on_with(kept, dataset)


def test_two_runs_at_once_decode_each_image_once(dataset, folder, image_folder, monkeypatch):
    told = []
    with filling(image_folder, folder) as process:

        def go_on(message):
            told.append(message)
            process.stdin.write("\n")
            process.stdin.flush()

        monkeypatch.setattr(atomic.logger, "warning", go_on)
        kept = Store(dataset, GEOMETRY, folder)
        assert list(kept.fill(ALL)) == []
        assert process.communicate()[0].splitlines()[-1] == "15"
    assert told == [f"another run is filling {kept.path}; waiting for it"]
    np.testing.assert_array_equal(contents(kept, ALL), expected(dataset, ALL))


ORPHANS = """
import sys, time
from pathlib import Path
import numpy as np
import fewshot_bn.workers
from fewshot_bn.datasets import open_dataset
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.inputs.store import Store
fewshot_bn.workers.FEW = 0
for _ in Store(open_dataset(sys.argv[1]), Preprocessing(10, 8), Path(sys.argv[2])).fill(np.arange(29), n_workers=2):
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_processes_end_with_the_one_that_started_them(image_folder, folder):
    command = [sys.executable, "-c", ORPHANS, str(image_folder), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"started\n"
        children = [path for path in Path("/proc").glob("[0-9]*") if parent_of(path) == process.pid]
        assert len(children) >= 2
        process.kill()
    deadline = time.monotonic() + 10
    while any(map(parent_of, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(parent_of, children))


def parent_of(process):
    """The number of its parent; None for a process that has ended."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)
