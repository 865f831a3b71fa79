"""Parquet files in the form of the Hugging Face hub, as pyarrow writes them: images, classes, what is refused."""

import builtins
import itertools
import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from reference.greys import encoded, grey, greys

from fewshot_bn.data import main
from fewshot_bn.datasets import open_dataset, parquet_rows
from fewshot_bn.datasets.verification import examine, report
from fewshot_bn.errors import DataError
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing

NAMES = ["zebra", "ant", "moth"]
LABELS = [2, 0, 1, 0, 2, 1, 1, 0, 2, 0]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CARD = """
name = "mine"
title = "Mine"
layout = "parquet"
folders = ["."]
licence = "none"
source = "nowhere"
citation = "nobody"
get = "draw it."
"""


def table(labels=LABELS, *, names=NAMES, images=None, **more):
    """Row i shows the grey i."""
    images = images or [{"bytes": encoded(i), "path": f"{i}.png"} for i in range(len(labels))]
    columns = {"image": pa.array(images, IMAGE), "label": pa.array(labels), **more}
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features if names else {}}})}
    return pa.table(columns).replace_schema_metadata(about)


def write(path, what, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(what, path, **settings)
    return path


def opened(path, **options):
    return open_dataset(str(path), **options)


def expected(labels=LABELS, names=NAMES):
    return {name: [i for i, label in enumerate(labels) if label == k] for k, name in enumerate(names)}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_names_of_the_metadata_are_the_classes_in_their_order(tmp_path, rows):
    dataset = opened(write(tmp_path / "some.parquet", table(), row_group_size=rows))
    assert dataset.class_names == tuple(NAMES)
    assert greys(dataset) == expected()
    assert dataset.ids[:4] == ("0000001", "0000003", "0000007", "0000009")
    assert dataset.splits is None
    assert not dataset.notices


def test_without_metadata_numbers_are_the_classes(tmp_path):
    assert greys(opened(write(tmp_path / "x.parquet", table(names=None)))) == expected(names="012")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.binary()]
)
def test_texts_are_classes_in_alphabetical_order(tmp_path, kind):
    texts = pa.array([NAMES[k] for k in LABELS]).cast(kind)
    dataset = opened(write(tmp_path / "x.parquet", table(texts, names=None)))
    assert dataset.class_names == ("ant", "moth", "zebra")
    assert greys(dataset) == expected()


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64()])
def test_labels_are_whole_numbers_of_any_type(tmp_path, kind):
    assert greys(opened(write(tmp_path / "x.parquet", table(pa.array(LABELS, kind))))) == expected()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_images_may_be_plain_bytes(tmp_path, kind):
    images = pa.array([encoded(i) for i in range(len(LABELS))], kind)
    what = table().drop_columns("image").append_column("img", images)
    assert greys(opened(write(tmp_path / "x.parquet", what))) == expected()


def shard(folder, what, cuts, name, rows=2):
    edges = [0, *cuts, len(what)]
    for k, (start, end) in enumerate(itertools.pairwise(edges)):
        place = folder / name.format(k, n=len(cuts) + 1)
        write(place, what.slice(start, end - start), row_group_size=rows)
    return folder


def test_a_dataset_is_the_same_however_it_is_cut(tmp_path):
    whole = opened(shard(tmp_path / "a" / "x", table(), [], "data/train-{:05d}-of-{n:05d}-0123456789abcdef.parquet"))
    three = opened(shard(tmp_path / "b" / "x", table(), [1, 4], "data/train-{:05d}-of-{n:05d}.parquet"))
    parts = opened(shard(tmp_path / "c" / "x", table(), [5], "default/train/{:04d}.parquet", rows=100))
    for other in (three, parts):
        assert (other.ids, other.fingerprint, other.class_names) == (whole.ids, whole.fingerprint, whole.class_names)
        assert greys(other) == expected()
    assert whole.ids[0] == "train/0000001"
    other = table(images=[{"bytes": encoded(i + 1), "path": ""} for i in range(len(LABELS))])
    changed = opened(shard(tmp_path / "d" / "x", other, [], "data/train-{:05d}-of-{n:05d}.parquet"))
    assert changed.fingerprint != whole.fingerprint


def test_splits_are_in_the_names_of_files(tmp_path):
    for name, n in (("train", 4), ("validation", 3), ("test", 3)):
        shard(tmp_path / "x", table(LABELS[:n]), [1], f"data/{name}-{{:05d}}-of-{{n:05d}}.parquet")
    dataset = opened(tmp_path / "x")
    found = {image.partition("/")[0]: split for image, split in zip(dataset.ids, dataset.splits.tolist(), strict=True)}
    assert found == {"train": 0, "val": 1, "test": 2}
    assert len(dataset) == 10
    assert [dataset.ids[row] for row in np.lexsort((dataset.ids, dataset.labels))] == list(dataset.ids)


def test_shards_that_are_missing_are_named(tmp_path):
    folder = shard(tmp_path / "x", table(), [3, 6], "train-{:05d}-of-{n:05d}.parquet")
    (folder / "train-00001-of-00003.parquet").unlink()
    (notice,) = opened(folder).notices
    assert str(notice).startswith("x: 2 of 3 files are there: train-00000-of-00003.parquet, train-00002")
    assert notice.is_wrong


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    dataset = opened(write(tmp_path / "x.parquet", table([-1, None, *LABELS[2:]])))
    assert greys(dataset) == expected([-1, -1, *LABELS[2:]])
    assert [str(notice) for notice in dataset.notices] == ["x: 2 rows without a label (-1 or nothing) were left out"]
    with pytest.raises(DataError, match="0 classes found, at least 2 are needed; 10 of 10 rows have no label"):
        opened(write(tmp_path / "y.parquet", table([-1] * 10)))


def test_a_row_without_an_image_is_named(tmp_path):
    images = [{"bytes": encoded(i), "path": "x"} for i in range(9)]
    dataset = opened(write(tmp_path / "x.parquet", table(images=[*images, {"bytes": None, "path": None}])))
    found = report(dataset, None, [one for part in examine(dataset) for one in part])
    assert any(case == "0000009: its row has no image" for finding in found.wrong for case in finding.cases)
    with pytest.raises(DataError, match=r"1 image cannot be read: '0000009' \(row 3\) its row has no image"):
        list(Store(dataset, Preprocessing(6, 6), tmp_path / "stores").fill(np.arange(10)))


def test_images_that_are_only_named_are_read_in_the_folder_and_nowhere_else(tmp_path):
    images = [{"bytes": None, "path": f"images/{i}.png"} for i in range(10)]
    (tmp_path / "in" / "images").mkdir(parents=True)
    for i in range(10):
        (tmp_path / "in" / "images" / f"{i}.png").write_bytes(encoded(i))
    assert greys(opened(write(tmp_path / "in" / "x.parquet", table(images=images)))) == expected()
    outside = [{"bytes": None, "path": str(tmp_path / "in" / "images" / f"{i}.png")} for i in range(10)]
    with pytest.raises(DataError, match="first images are not in its files: .* which is not below .*out"):
        opened(write(tmp_path / "out" / "x.parquet", table(images=outside)))


def test_columns_that_are_not_clear_are_listed(tmp_path):
    two = table(mask=pa.array([None] * 10, IMAGE))
    assert greys(opened(write(tmp_path / "x.parquet", two))) == expected()  # one of them is called image
    for old, new in (("image", "left"), ("label", "fine"), ("mask", "right")):
        two = two.rename_columns([new if name == old else name for name in two.column_names])
    path = write(tmp_path / "x.parquet", two.replace_schema_metadata(None))
    with pytest.raises(DataError, match="not clear which column is the image; its columns are 'left' .*'fine' .int64"):
        opened(path)
    (tmp_path / "card.toml").write_text(CARD + 'n_classes = 3\n[parquet]\nimage = "left"\nlabel = "fine"')
    assert greys(opened(tmp_path / "card.toml", root=tmp_path)) == expected(names="012")
    (tmp_path / "card.toml").write_text(CARD + 'n_classes = 3\n[parquet]\nimage = "left"\nlabel = "none"')
    with pytest.raises(DataError, match="column 'none' is no label; its columns are"):
        opened(tmp_path / "card.toml", root=tmp_path)


def test_a_card_gives_files_groups_and_classes(tmp_path):
    what = table(patient=pa.array([f"p{i % 4}" if i else None for i in range(10)]))
    write(tmp_path / "a.parquet", what)
    write(tmp_path / "b.parquet", what)
    card = CARD + '[parquet]\nfiles = ["a.*"]\ngroup = "patient"\n[classes]\nmoth = 3\nzebra = 4'
    (tmp_path / "card.toml").write_text(card)
    dataset = opened(tmp_path / "card.toml", root=tmp_path)
    assert greys(dataset) == {"moth": [0, 4, 8], "zebra": [1, 3, 7, 9]}
    assert dataset.groups == ("(0000000)", "p0", "p0", "p1", "p3", "p3", "p1")
    assert [str(notice) for notice in dataset.notices] == ["mine: classes that are not on the card were left out: ant"]


def test_large_row_groups_are_copied_once_and_images_read_one_by_one(tmp_path, own_cache, monkeypatch, caplog):
    monkeypatch.setattr(parquet_rows, "MOST_GROUP_BYTES", 0)
    dataset = opened(write(tmp_path / "x.parquet", table()))
    assert greys(dataset) == expected()
    assert greys(pickle.loads(pickle.dumps(dataset.read)) and dataset) == expected()
    (note,) = caplog.messages
    assert "x.parquet: has row groups of 0 MiB" in note
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(tmp_path / "x.parquet"))
    with pytest.raises(DataError, match="cannot be written: .*; make room, .*row_group_size=100"):
        dataset.read(0)


def test_rows_are_read_in_the_order_of_the_files(tmp_path, monkeypatch):
    dataset = opened(write(tmp_path / "x.parquet", table(), row_group_size=2))
    groups = []
    images = parquet_rows.images
    monkeypatch.setattr(parquet_rows, "images", lambda file, column, k: groups.append(k) or images(file, column, k))
    list(Store(dataset, Preprocessing(6, 6), tmp_path / "stores").fill(np.arange(10), n_workers=1))
    assert groups == [0, 1, 2, 3, 4]


def test_a_reader_goes_to_other_processes_and_sees_that_a_file_was_changed(tmp_path):
    path = write(tmp_path / "x.parquet", table())
    read = pickle.loads(pickle.dumps(opened(path).read))
    write(path, table(LABELS[:5]))
    with pytest.raises(DataError, match="was changed after it had been opened; run this again"):
        read(0)


def encrypted(content):
    return b"PARE" + content[4:-4] + b"PARE"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", r"it is empty \(0 bytes\)"),
        (lambda content: b"PK\3\4" + content, "it is none: it does not begin as one"),
        (lambda content: content[: len(content) // 2], "it is cut off; get it again"),
        (encrypted, "it is encrypted; write it without encryption"),
        (lambda content: content[:-200] + bytes(192) + content[-8:], "cannot be read"),
        (lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1", "cannot be read"),
    ],
)
def test_files_that_are_damaged_or_none_are_one_line(tmp_path, damage, message, capsys):
    path = write(tmp_path / "x.parquet", table())
    path.write_bytes(damage(path.read_bytes()))
    assert main(["verify", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: this Parquet file cannot be read: ")
    with pytest.raises(DataError, match=message):
        opened(path)


def test_damage_among_the_images_is_told_of_each(tmp_path):
    path = write(tmp_path / "x.parquet", table(), row_group_size=5, compression="snappy", use_dictionary=False)
    dataset = opened(path)
    at = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)
    os.utime(path, ns=(path.stat().st_atime_ns, dataset.read._sources[0].state.modified_ns))
    assert grey(dataset, 0) == 1
    with pytest.raises(ValueError, match="x.parquet is damaged"):
        dataset.read(len(dataset) - 1)


def test_what_is_wrong_with_labels_is_said(tmp_path):
    with pytest.raises(DataError, match="label holds labels up to 7, but its metadata names 3 classes"):
        opened(write(tmp_path / "x.parquet", table([7, *LABELS[1:]])))
    with pytest.raises(DataError, match="label holds -5; whole numbers from 0"):
        opened(write(tmp_path / "x.parquet", table([-5, *LABELS[1:]])))
    with pytest.raises(DataError, match="numbers that are not whole"):
        opened(write(tmp_path / "x.parquet", table([0.5, *LABELS[1:]], names=None)))
    with pytest.raises(DataError, match="names of classes in its metadata are no texts that differ"):
        opened(write(tmp_path / "x.parquet", table(names=["a", "a", "b"])))
    with pytest.raises(DataError, match="a label or group has 9,000 bytes"):
        opened(write(tmp_path / "x.parquet", table(["a" * 9000] * 5 + ["b"] * 5, names=None)))
    write(tmp_path / "two" / "train-0.parquet", table())
    write(tmp_path / "two" / "train-1.parquet", table(names=NAMES[::-1]))
    with pytest.raises(DataError, match=r"train-1.parquet: its columns or classes are not those of train-0.parquet"):
        opened(tmp_path / "two")


def refusing(module, problem):
    """An `__import__` that raises for one module."""
    real = builtins.__import__

    def imported(name, *arguments):
        if name == module:
            raise problem
        return real(name, *arguments)

    return imported


@pytest.mark.parametrize(
    ("problem", "more"),
    [
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), ""),
        (
            ImportError("pyarrow requires NumPy 2.0"),
            " (the one that is there does not work: pyarrow requires NumPy 2.0)",
        ),
    ],
)
def test_without_a_pyarrow_that_works_the_line_says_how_to_get_it(tmp_path, monkeypatch, problem, more):
    path = write(tmp_path / "x.parquet", table())
    monkeypatch.setattr("builtins.__import__", refusing("pyarrow.parquet", problem))
    with pytest.raises(DataError) as caught:
        opened(path)
    assert str(caught.value) == f"{path}: Parquet files need pyarrow: pip install 'fewshot_bn[parquet]'{more}"


def test_an_image_folder_with_a_parquet_file_beside_its_classes_is_an_image_folder(image_folder):
    before = opened(image_folder)
    write(image_folder / "features.parquet", table())
    assert opened(image_folder).fingerprint == before.fingerprint


def test_several_datasets_in_one_folder_are_named(tmp_path):
    for name in ("fine", "coarse"):
        write(tmp_path / name / "train-00000-of-00001.parquet", table())
    with pytest.raises(DataError, match="holds .parquet files of several datasets, in coarse, fine; name one of these"):
        opened(tmp_path)


def test_pictures_beside_the_data_of_a_repository_do_not_matter(tmp_path):
    folder = shard(tmp_path / "x", table(), [5], "data/train-{:05d}-of-{n:05d}.parquet")
    (folder / "assets").mkdir()
    (folder / "assets" / "logo.png").write_bytes(encoded(3))
    assert greys(opened(folder)) == expected()


def test_names_of_columns_in_any_case_and_no_rows(tmp_path):
    large = table(names=None).rename_columns(["Image", "Label"])
    assert greys(opened(write(tmp_path / "x.parquet", large))) == expected(names="012")
    with pytest.raises(DataError, match="0 classes found, at least 2 are needed"):
        opened(write(tmp_path / "x.parquet", table().slice(0, 0)))


def test_the_cache_of_the_hub_is_a_folder_of_links(tmp_path):
    place = write(tmp_path / "cache" / "blobs" / "0a1b2c", table())
    link = tmp_path / "cache" / "snapshots" / "1f2e" / "data" / "train-00000-of-00001.parquet"
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(place, link.parent))
    assert greys(opened(tmp_path / "cache")) == expected()


@pytest.mark.parametrize("most", [0, 50_000])
def test_an_image_that_is_repeated_without_end_takes_no_memory_and_no_disk(tmp_path, own_cache, monkeypatch, most):
    monkeypatch.setattr(parquet_rows, "MOST_GROUP_BYTES", most)
    one = {"bytes": os.urandom(5000), "path": ""}
    path = write(tmp_path / "x.parquet", table(LABELS * 100, images=[one] * 1000))
    assert path.stat().st_size < 20_000
    dataset = opened(path)
    with pytest.raises((DataError, ValueError), match="its images have more than [0-9,]+ bytes, many times"):
        dataset.read(0)
    assert not list(own_cache.rglob("*.images"))
