"""The verb fetch from its arguments to a dataset that opens, against a real server on this machine."""

import hashlib
import io
import re
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import filelock
import numpy as np
import pytest
from PIL import Image
from reference.servers import Server, serving

from fewshot_bn.data import main
from fewshot_bn.datasets import fetching, open_dataset, read_dataset_card
from fewshot_bn.files import downloads

CARD = """
name = "pets"
title = "Pets"
layout = "folder"
folders = ["Pets/images"]
tree = "Pets/images/<class>/<image>.png"
licence = "none"
source = "https://pets.example"
citation = "nobody"
get = "draw them."
"""
CLASSES = "\n[classes]\ndog = 3\ncat = 2\n"


class Files(Server):
    """Serves `server.files`; what `server.cut` says of a file is where its next answer ends early."""

    def do_GET(self):  # noqa: N802
        name, start = self.path.strip("/"), self.start()
        self.server.asked.append((name, start))
        content = self.server.files.get(name)
        if content is None:
            self.send(404)
        elif start >= len(content):
            self.send(416, Content_Range=f"bytes */{len(content)}")
        else:
            span = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            end = self.server.cut.pop(name, None)
            self.send(206 if start else 200, content[start:end], len(content) - start, **span)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Files) as server:
        server.files, server.cut = {}, {}
        yield server


def image(k):
    file = io.BytesIO()
    Image.fromarray(np.random.Generator(np.random.Philox(k)).integers(0, 255, (30, 30, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


SIZES = {"dog": 3, "cat": 2}
IMAGES = {f"images/{name}/{k}.png": image(10 * SIZES[name] + k) for name in SIZES for k in range(SIZES[name])}


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def pets(tmp_path, server, capsys):
    """A folder with a card of two classes whose archive is on the server, and the verb fetch for it."""

    def serve(name, content):
        server.files[name] = content

    def describe(*files, card=CARD, classes=CLASSES, **facts):
        texts = [card]
        for name in files:
            own = {"sha256": hashlib.sha256(server.files[name]).hexdigest(), "n_bytes": len(server.files[name])}
            own |= {"unpack": "Pets"} if name.endswith(".zip") else {"folder": "Pets"}
            own |= {"url": f"http://127.0.0.1:{server.server_port}/{name}", "file": name} | facts
            texts += ["[[downloads]]", *(f"{key} = {value!r}" for key, value in own.items())]
        path.write_text("\n".join(texts) + classes)

    def fetch(*arguments):
        server.asked.clear()
        status = main(["fetch", str(path), "--data-root", str(root), *arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err, asked=list(server.asked))

    path, root = tmp_path / "my card.toml", tmp_path / "data root"
    serve("pets.zip", zipped(IMAGES))
    describe("pets.zip")
    tree = root / "Pets" / "images"
    return SimpleNamespace(path=path, root=root, tree=tree, serve=serve, describe=describe, fetch=fetch)


def assert_whole(pets):
    dataset = open_dataset(str(pets.path), root=pets.root, strict=True)
    assert dict(zip(dataset.class_names, dataset.class_sizes, strict=True)) == SIZES
    for row, name in enumerate(dataset.ids):
        assert dataset.read(row) == IMAGES[f"images/{name}"]


def assert_one_line(done, message):
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1, done.err
    assert re.search(f"^error: .*{message}", done.err), done.err


def test_a_dataset_is_fetched_and_opens(pets):
    done = pets.fetch()
    assert (done.status, done.err, done.asked) == (0, "", [("pets.zip", 0)])
    size = len(zipped(IMAGES)) / 1e6
    assert done.out.splitlines() == [
        f"pets: 5 images of 2 classes are in {pets.tree}",
        f"note: {pets.root}/downloads/pets.zip ({size:.1f} MB) may be deleted",
        f"check every image: python -m fewshot_bn.data verify '{pets.path}' --data-root '{pets.root}'",
    ]
    assert_whole(pets)


def test_every_step_says_how_far_it_is(pets, monkeypatch):
    monkeypatch.setattr(downloads, "BLOCK_BYTES", 5000)
    size = len(zipped(IMAGES))
    steps = list(fetching.fetch_all(read_dataset_card(pets.path), pets.root))
    arrived = [step.done for step in steps if step.title == "pets.zip"]
    assert arrived == [*range(0, size, 5000), size]
    assert {(step.unit, step.total) for step in steps if step.title == "pets.zip"} == {("B", size)}
    unpacked = steps[len(arrived) :]
    assert {(step.title, step.unit, step.total) for step in unpacked} == {("unpacking pets.zip", "B", None)}
    assert (unpacked[0].done, unpacked[-1].done) == (0, sum(map(len, IMAGES.values())))


def test_the_command_that_it_names_verifies(pets, capsys):
    pets.fetch()
    assert main(["verify", str(pets.path), "--data-root", str(pets.root)]) == 0
    assert capsys.readouterr().out.endswith("\nnothing is wrong\n")


@pytest.mark.parametrize("keeps_archive", [True, False])
def test_what_is_there_is_not_fetched_again(pets, keeps_archive):
    pets.fetch()
    if not keeps_archive:
        shutil.rmtree(pets.root / "downloads")
    done = pets.fetch()
    assert (done.status, done.asked) == (0, [])
    assert "pets: 5 images of 2 classes are in" in done.out
    assert ("may be deleted" in done.out) == keeps_archive


def test_a_tree_that_is_gone_is_unpacked_again_from_the_archive(pets):
    pets.fetch()
    shutil.rmtree(pets.root / "Pets")
    done = pets.fetch()
    assert (done.status, done.asked) == (0, [])
    assert_whole(pets)


def test_images_that_are_gone_are_unpacked_again_from_the_archive(pets):
    pets.fetch()
    (pets.tree / "dog" / "1.png").unlink()
    shutil.rmtree(pets.tree / "cat")
    assert pets.fetch().asked == []
    assert_whole(pets)


def test_files_of_ones_own_are_left_alone(pets):
    for name in ("images/dog/0.png", "images/cat/0.png"):
        (pets.root / "Pets" / name).parent.mkdir(parents=True)
        (pets.root / "Pets" / name).write_bytes(b"mine")
    done = pets.fetch()
    assert (done.status, done.asked) == (0, [])
    assert "note: pets: a subset: 2 of 5 images" in done.out
    assert "note: to fetch all of it, move what is there away first" in done.out
    assert (pets.tree / "dog" / "0.png").read_bytes() == b"mine"


def test_files_of_ones_own_that_cannot_be_used_are_not_overwritten(pets):
    (pets.tree / "dog").mkdir(parents=True)
    (pets.tree / "dog" / "0.png").write_bytes(b"mine")
    assert_one_line(pets.fetch(), r"dog/0\.png: is there already and is not what the archive holds; move it away")
    assert (pets.tree / "dog" / "0.png").read_bytes() == b"mine"
    assert not (pets.tree / "cat").exists()


def test_several_files_and_one_that_is_no_archive(pets):
    table = "path,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in IMAGES)
    card = CARD.replace('"folder"', '"csv"').replace('["Pets/images"]', '["Pets"]')
    pets.serve("table.csv", table.encode())
    pets.describe("table.csv", "pets.zip", card=card, classes="\n[csv]\nfiles = ['table.csv']" + CLASSES)
    done = pets.fetch()
    assert [name for name, _ in done.asked] == ["table.csv", "pets.zip"]
    assert "downloads/pets.zip (" in done.out
    assert "table.csv" not in done.out
    assert (pets.root / "Pets" / "table.csv").read_text() == table
    assert len(open_dataset(str(pets.path), root=pets.root, strict=True)) == 5


def in_two_parts(pets):
    pets.serve("a.zip", zipped(dict(list(IMAGES.items())[:4])))
    pets.serve("b.zip", zipped(dict(list(IMAGES.items())[4:])))
    pets.describe("a.zip", "b.zip")


def test_what_was_stopped_between_two_archives_goes_on_with_the_second(pets, server):
    in_two_parts(pets)
    second = server.files.pop("b.zip")
    assert_one_line(pets.fetch(), r"/b\.zip: the server answers 404 Not Found; try again, or fetch it by hand")
    assert len(open_dataset(str(pets.path), root=pets.root)) == 4  # would open, and is not whole
    server.files["b.zip"] = second
    assert pets.fetch().asked == [("b.zip", 0)]
    assert_whole(pets)


def test_what_was_stopped_before_the_last_archive_was_unpacked_is_unpacked(pets, monkeypatch):
    in_two_parts(pets)
    unpack = fetching.unpack

    def stopped(archive, folder):
        if archive.name == "b.zip":
            raise KeyboardInterrupt
        return unpack(archive, folder)

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "unpack", stopped)
        assert pets.fetch().status == 130
    assert pets.fetch().asked == []
    assert_whole(pets)


def test_a_download_that_was_cut_off_goes_on(pets, server):
    server.cut["pets.zip"] = 5000
    done = pets.fetch()
    assert_one_line(done, r"5,000 of \d+,\d+ bytes arrived \(.*\); the same command goes on from there")
    assert (pets.root / "downloads" / "pets.zip.part").stat().st_size == 5000
    assert pets.fetch().asked == [("pets.zip", 5000)]
    assert_whole(pets)


def test_ctrl_c_keeps_the_part_and_the_same_command_goes_on(pets, monkeypatch):
    monkeypatch.setattr(downloads, "BLOCK_BYTES", 1000)
    blocks, read = [], downloads._read

    def interrupted(*arguments):
        if len(blocks) == 3:
            raise KeyboardInterrupt
        blocks.append(read(*arguments))
        return blocks[-1]

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_read", interrupted)
        done = pets.fetch()
    assert (done.status, done.err) == (130, "stopped; what is kept is not computed again\n")
    assert (pets.root / "downloads" / "pets.zip.part").read_bytes() == zipped(IMAGES)[:3000]
    assert pets.fetch().asked == [("pets.zip", 3000)]
    assert_whole(pets)


def test_a_second_run_waits_for_the_first(pets, caplog):
    lock = filelock.FileLock(pets.root / ".fetch-pets.lock")
    pets.root.mkdir()
    lock.acquire()
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(pets.fetch)
        deadline = time.monotonic() + 10
        while "another run is fetching pets; waiting for it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not pets.tree.exists()
        lock.release()
        assert second.result().status == 0
    assert pets.tree.is_dir()


def test_another_checksum_is_an_error_and_leaves_nothing(pets):
    pets.describe("pets.zip", sha256="0" * 64)
    assert_one_line(pets.fetch(), f"its sha256 is [0-9a-f]{{64}}, {'0' * 64} is needed; the same command begins anew")
    assert not list(pets.root.glob("**/pets.zip*"))
    assert not (pets.root / "Pets").exists()


def test_another_file_of_that_name_is_an_error_and_stays(pets):
    (pets.root / "downloads").mkdir(parents=True)
    (pets.root / "downloads" / "pets.zip").write_bytes(b"mine")
    assert_one_line(pets.fetch(), r"downloads/pets\.zip: its sha256 is .* is needed; move it away")
    assert (pets.root / "downloads" / "pets.zip").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "images/../../../outside.txt"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(pets, tmp_path, name):
    pets.serve("pets.zip", zipped({**IMAGES, name: b"!"}))
    pets.describe("pets.zip")
    assert_one_line(pets.fetch(), f"the entry '{name}' (leads out of the folder|has an absolute path); where you trust")
    assert not list(tmp_path.glob("**/outside.txt"))
    assert not (pets.root / "Pets").exists()


def test_an_archive_that_is_none_is_an_error(pets):
    pets.serve("pets.zip", b"<html>please log in</html>")
    pets.describe("pets.zip")
    assert_one_line(pets.fetch(), r"pets\.zip: this archive is damaged or truncated; delete it and fetch it again")


def test_a_tree_that_is_not_where_the_card_says_is_told(pets):
    pets.describe("pets.zip", unpack="Elsewhere")
    done = pets.fetch()
    assert_one_line(done, "pets: all its files are in .*, but there is no Pets/images/<class>/<image>.png in Pets")
    assert "unpack or folder" in done.err
    pets.describe("pets.zip")
    assert pets.fetch().status == 0
    assert_whole(pets)


@pytest.mark.parametrize(("n_free", "status"), [(0, 2), (len(zipped(IMAGES)), 2), (10**9, 0)])
def test_too_little_room_is_told_before_anything_is_fetched(pets, monkeypatch, n_free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=n_free))
    done = pets.fetch()
    assert done.status == status
    if status:
        assert_one_line(done, r"data root: 0\.0\d GB are free there, 0\.0\d GB are needed; make room")
        assert (done.asked, pets.root.exists()) == ([], False)


def test_what_has_arrived_needs_no_room_again(pets, monkeypatch):
    size = len(zipped(IMAGES))
    pets.fetch()
    shutil.rmtree(pets.root / "Pets")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=int(1.3 * size)))
    assert pets.fetch().status == 0


def test_a_size_that_is_not_known_is_no_hindrance(pets):
    pets.describe("pets.zip", n_bytes=0)
    assert pets.fetch().status == 0
    assert_whole(pets)


def test_a_data_root_that_is_a_file_is_an_error(pets):
    pets.root.write_text("hello")
    assert_one_line(pets.fetch(), r"data root: cannot be written: File exists; choose another")


def test_without_downloads_the_steps_are_told_and_the_status_is_2(pets):
    pets.path.write_text(CARD + CLASSES)
    done = pets.fetch()
    assert (done.status, done.err, done.asked) == (2, "", [])
    assert done.out.splitlines() == [
        "pets cannot be fetched without you. By hand:",
        "Pets; licence: none",
        "1. open https://pets.example",
        "2. draw them.",
        f"3. below {pets.root} there should be Pets/images/<class>/<image>.png",
        f"4. check it: python -m fewshot_bn.data verify '{pets.path}' --data-root '{pets.root}'",
    ]
    pets.path.write_text(CARD.replace('tree = "Pets/images/<class>/<image>.png"', "") + CLASSES)
    assert f"3. below {pets.root} there should be Pets/images\n" in pets.fetch().out


def test_without_downloads_what_is_there_is_told_or_why_it_cannot_be_used(pets):
    pets.fetch()
    pets.path.write_text(CARD + CLASSES)
    assert pets.fetch().status == 0
    shutil.rmtree(pets.tree / "cat")
    assert_one_line(pets.fetch(), "1 class folders found, at least 2 are needed")


def test_images_that_are_empty_are_told(pets):
    pets.fetch()
    (pets.tree / "cat" / "0.png").write_bytes(b"")
    assert_one_line(pets.fetch(), r"cat/0\.png: is there already and is not what the archive holds; move it away")
    shutil.rmtree(pets.root / "downloads")
    assert_one_line(pets.fetch(), r"cat/0\.png in .*: empty \(0 bytes\); get these files again or remove them; python")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("digits", 0, "digits: nothing to get: it ships with scikit-learn."),
        ("eurosta", 2, r"error: unknown dataset 'eurosta' \(did you mean 'eurosat'\?\).* or give the path of a card"),
        ("none.toml", 2, "error: unknown dataset 'none.toml'"),
        (".", 2, r"error: \.: is no card; the name of a known dataset or a card \(\.toml\) is needed"),
        ("isic", 2, "isic cannot be fetched without you"),
    ],
)
def test_names_that_are_not_fetched(tmp_path, capsys, name, status, message):
    assert main(["fetch", name, "--data-root", str(tmp_path)]) == status
    printed = capsys.readouterr()
    assert re.search(message, printed.out + printed.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("url = 'http", "url = 'ftp", "one of http:// or https:// without spaces is needed"),
        ("unpack = 'Pets'", "unpack = '../Pets'", "a folder under the data root is needed"),
        ("file = 'pets.zip'", "file = '../pets.zip'", "a plain file name is needed"),
        ("sha256", "sha512", r"unknown field 'sha512' \(did you mean 'sha256'\?\)"),
    ],
)
def test_a_card_with_wrong_downloads_is_an_error(pets, old, new, message):
    pets.path.write_text(pets.path.read_text().replace(old, new))
    assert_one_line(pets.fetch(), message)
