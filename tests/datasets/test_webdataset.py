"""Tar files: samples of WebDataset and class folders, as tarfile writes them; what is left out, what is refused."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from reference.greys import encoded, greys

from fewshot_bn.data import main
from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.verification import examine, report
from fewshot_bn.errors import DataError

LABELS = [2, 0, 1, 0, 2, 1, 1, 0]


def write(path, files, mode="w", **settings):
    """Files by name; a value may be a `TarInfo` without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **settings) as tar:
        for name, content in files:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(labels=LABELS, start=0, ending="cls", what=str):
    for i, label in enumerate(labels, start):
        yield f"{i:04d}.png", encoded(i)
        yield f"{i:04d}.{ending}", what(label).encode()


def special(kind):
    info = tarfile.TarInfo("odd.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def opened(path, **options):
    return open_dataset(str(path), **options)


def test_a_label_is_a_number_beside_its_image(tmp_path):
    dataset = opened(write(tmp_path / "mine.tar", samples()))
    assert greys(dataset) == {"0": [1, 3, 7], "1": [2, 5, 6], "2": [0, 4]}
    assert (dataset.name, dataset.ids[0], dataset.splits) == ("mine", "0001", None)
    assert not dataset.notices
    assert greys(dataset) == {"0": [1, 3, 7], "1": [2, 5, 6], "2": [0, 4]}
    assert pickle.loads(pickle.dumps(dataset.read))(0) == encoded(1)


def test_numbers_are_sorted_by_value_and_names_by_letter(tmp_path):
    assert opened(write(tmp_path / "a.tar", samples([10, 9, 10, 9]))).class_names == ("9", "10")
    names = write(tmp_path / "b.tar", samples(["moth\n", "ant", "moth", "ant"]))
    assert greys(opened(names)) == {"ant": [1, 3], "moth": [0, 2]}


def test_names_of_classes_lie_beside(tmp_path):
    path = write(tmp_path / "mine.tar", samples())
    (tmp_path / "classnames.txt").write_text("zebra\nant\nmoth\n")
    assert greys(opened(path)) == {"zebra": [1, 3, 7], "ant": [2, 5, 6], "moth": [0, 4]}
    (tmp_path / "classnames.txt").write_text("zebra\nant\n")
    with pytest.raises(DataError, match="labels go up to 2, and classnames.txt has 2 names"):
        opened(path)


@pytest.mark.parametrize("field", ["label", "cls", "class"])
def test_a_label_is_a_field_of_json(tmp_path, field):
    path = write(tmp_path / "mine.tar", samples(ending="json", what=lambda k: json.dumps({field: k, "x": [1]})))
    assert greys(opened(path)) == {"0": [1, 3, 7], "1": [2, 5, 6], "2": [0, 4]}


CARD = """
name = "mine"
title = "Mine"
layout = "webdataset"
folders = ["."]
licence = "none"
source = "nowhere"
citation = "nobody"
get = "draw it."
"""


def test_a_card_says_what_is_what(tmp_path):
    files = [*samples(ending="json", what=lambda k: json.dumps({"kind": f"k{k}", "who": f"p{k % 2}"}))]
    files += [(f"{i:04d}.seg.png", encoded(200 + i)) for i in range(8)]
    write(tmp_path / "a-0000.tar", files)
    fields = '[webdataset]\nfiles = ["a-*.tar"]\nimage = "seg.png"\nlabel = "kind"\ngroup = "who"'
    (tmp_path / "card.toml").write_text(f"{CARD}{fields}\n[classes]\nk2 = 2\nk0 = 3")
    dataset = opened(tmp_path / "card.toml", root=tmp_path)
    assert greys(dataset) == {"k2": [200, 204], "k0": [201, 203, 207]}
    assert dataset.groups == ("p0",) * 5
    (notice,) = dataset.notices
    assert str(notice) == "mine: 3 samples of other classes than those of the card were left out"


def test_an_image_is_the_one_with_the_plain_ending(tmp_path):
    files = [*samples(), *((f"{i:04d}.mask.png", encoded(255)) for i in range(8))]
    assert greys(opened(write(tmp_path / "a.tar", files)))["2"] == [0, 4]
    both = write(tmp_path / "b.tar", [*samples(), ("0003.jpg", encoded(3, "JPEG"))])
    with pytest.raises(DataError, match=r"sample '0003' has several images, with the endings png, jpg; name one"):
        opened(both)


def test_a_dataset_is_the_same_however_it_is_cut(tmp_path):
    write(tmp_path / "a" / "x" / "x-train-000000.tar", samples())
    write(tmp_path / "b" / "x" / "x-train-000000.tar", samples(LABELS[:3]))
    write(tmp_path / "b" / "x" / "x-train-000001.tar", samples(LABELS[3:], 3))
    one, two = opened(tmp_path / "a" / "x"), opened(tmp_path / "b" / "x")
    assert (one.ids, one.fingerprint) == (two.ids, two.fingerprint)
    assert greys(one) == greys(two)
    assert one.ids[0] == "train/0001"
    assert set(one.splits.tolist()) == {0}


def test_keys_that_begin_anew_in_each_shard_are_told_apart(tmp_path):
    for k in range(2):
        write(tmp_path / "x" / f"x-{k:06d}.tar", samples(LABELS[:4]))
    dataset = opened(tmp_path / "x")
    assert len(dataset) == 8
    assert dataset.ids[0] == "x-000000/0001"


@pytest.mark.parametrize("top", ["", "./", "data/photos/"])
def test_class_folders_in_a_tar_file_are_classes(tmp_path, top):
    files = [(f"{top}c{label}/a.{i}.png", encoded(i)) for i, label in enumerate(LABELS)]
    files += [(f"{top}c1/._a.png", b"x"), (f"{top}readme.json", b"{}")]
    dataset = opened(write(tmp_path / "x.tar", files))
    assert greys(dataset) == {"c0": [1, 3, 7], "c1": [2, 5, 6], "c2": [0, 4]}


def test_each_tar_file_may_be_a_class(tmp_path):
    for k in range(3):
        images = [(f"n0{k}_{i}.png", encoded(i)) for i, label in enumerate(LABELS) if label == k]
        write(tmp_path / "x" / f"n0{k}.tar", images)
    assert greys(opened(tmp_path / "x")) == {"n00": [1, 3, 7], "n01": [2, 5, 6], "n02": [0, 4]}
    whole = write(tmp_path / "all.tar", [(path.name, path.read_bytes()) for path in (tmp_path / "x").iterdir()])
    with pytest.raises(DataError, match=r"all: holds tar files, such as n0\d.tar; unpack it \(tar xf\)"):
        opened(whole)


def test_class_folders_lie_in_folders_of_splits_and_masks_are_refused(tmp_path):
    files = [(f"{'train' if i < 6 else 'test'}/c{label}/{i}.png", encoded(i)) for i, label in enumerate(LABELS)]
    dataset = opened(write(tmp_path / "x.tar", files))
    assert [dataset.ids[row] for row in np.flatnonzero(dataset.splits == 2)] == ["test/c0/7.png", "test/c1/6.png"]
    masks = [*files, ("train/c1/masks/1.png", encoded(1))]
    with pytest.raises(DataError, match="'train/c1/masks/1.png' lies in a folder 'masks', so it is a mask"):
        opened(write(tmp_path / "y.tar", masks))


def test_what_is_left_out_is_counted(tmp_path):
    files = [
        *samples(),
        ("a.png", encoded(1)),
        ("b.cls", b"1"),
        ("c.png", encoded(1)),
        ("c.cls", b"-1"),
        ("t.txt", b""),
    ]
    files += [
        ("", special(kind)) for kind in (tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE)
    ]
    dataset = opened(write(tmp_path / "x.tar", files, format=tarfile.PAX_FORMAT))
    assert len(dataset) == 8
    assert sorted(map(str, dataset.notices)) == [
        "x: 1 samples that are no plain files (device) were left out",
        "x: 1 samples that are no plain files (sparse file) were left out",
        "x: 1 samples without an image were left out",
        "x: 2 samples that are no plain files (link) were left out",
        "x: 2 samples without a label were left out",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([*samples(), ("0001.png", encoded(3))], "'0001.png' is there twice"),
        ([("a.png", encoded(1)), ("b.png", encoded(1))], "no image has a label: beside x.jpg .* 2 beside the class"),
        ([("a.txt", b"x")], "no image has a label"),
        ([*samples([1, 1, 1])], "1 classes found in"),
        ([*samples(), ("0001.json", b"{")], "'0001.json' is no JSON"),
        ([*samples(), ("9.png", encoded(3)), ("9.cls", b"\xff\xfe")], "'9.cls' is no text in UTF-8"),
        ([*samples(), ("9.png", encoded(3)), ("9.cls", b"1" * 2000)], "'9.cls' has 2,000 bytes, at most 1,000"),
        ([], "no image has a label"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        opened(write(tmp_path / "x.tar", files))


def with_size(content, size):
    """The first header, its size replaced and its checksum made right."""
    header = bytearray(content[:512])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", r"it is empty \(0 bytes\)"),
        (lambda content: content[:3000], "cannot be read: "),
        (lambda content: content[:4096] + b"x" + content[4097:], "damaged at byte"),
        (lambda content: b"no tar file at all" * 100, "cannot be read: "),
        (lambda content: with_size(content, b"77777777777\0"), "is cut off: '0000.png' claims 8,589,934,591 bytes"),
        (lambda content: with_size(content, b"\xff" * 12), "cannot be read: "),
        (lambda content: b"\x1f\x8b" + content, r"is compressed, so no single image .* once: gunzip <x.tar >plain.tar"),
    ],
)
def test_tar_files_that_are_damaged_or_none_are_one_line(tmp_path, damage, message, capsys):
    path = write(tmp_path / "x.tar", samples())
    path.write_bytes(damage(path.read_bytes()))
    assert main(["verify", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ")
    with pytest.raises(DataError, match=message):
        opened(path)


def test_long_names_cost_no_memory_and_no_traceback(tmp_path):
    path = write(tmp_path / "x.tar", samples())
    content = path.read_bytes()
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + content)
    with pytest.raises(DataError, match="a header claims 8,589,934,592 bytes"):
        opened(path)
    info.size = 512
    path.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"a" * 512) * 2000 + content)
    with pytest.raises(DataError, match="this tar file cannot be read"):
        opened(path)


def test_a_missing_mark_of_the_end_is_wrong(tmp_path):
    path = write(tmp_path / "x.tar", samples())
    with tarfile.open(path) as tar:
        tar.getmembers()
        end = tar.offset
    os.truncate(path, end)
    dataset = opened(path)
    found = report(dataset, None, [one for part in examine(dataset) for one in part])
    assert any("1 of its tar files have no mark of the end" in str(finding) for finding in found.wrong)


def test_a_file_that_was_changed_is_not_read_on(tmp_path):
    dataset = opened(write(tmp_path / "x.tar", samples()))
    write(tmp_path / "x.tar", samples(LABELS[:4]))
    with pytest.raises(DataError, match="was changed after it had been opened; run this again"):
        dataset.read(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.zip", r"x.zip: is an archive; unpack it \(python -m zipfile -e x.zip x\), and name the folder"),
        ("x.tar.gz", r"x.tar.gz: is an archive; unpack it \(mkdir x; tar xf x.tar.gz -C x\)"),
        ("x.TGZ", r"unpack it"),
        ("x.arrow", r"load_from_disk\(.*to_parquet"),
        ("x.tfrecord", r"is none of the forms that are read"),
    ],
)
def test_what_is_packed_otherwise_is_told_what_to_do(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        opened(tmp_path / name)


def test_a_folder_of_save_to_disk_is_told_what_to_do(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds files \*.arrow; .*to_parquet"):
        opened(tmp_path)


def test_tables_beside_tar_files_do_not_matter(tmp_path):
    write(tmp_path / "x" / "00000.tar", samples())
    (tmp_path / "x" / "00000.parquet").write_bytes(b"x")
    (tmp_path / "x" / "00000_stats.json").write_bytes(b"{}")
    assert greys(opened(tmp_path / "x"))["2"] == [0, 4]
