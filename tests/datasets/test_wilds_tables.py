"""Tables in the layouts of WILDS: metadata.csv with its columns, splits as names or numbers, domains as groups."""

import numpy as np
import pytest
from PIL import Image

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.verification import report
from fewshot_bn.errors import DataError


@pytest.fixture
def images(tmp_path, rng):
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    return tmp_path


def write(folder, *lines):
    path = folder / "metadata.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_waterbirds_is_read_as_published(images):
    """img_id,img_filename,y,split,place,place_filename with splits 0, 1 and 2."""
    cells = [(1, 0), (1, 0), (0, 1), (1, 1), (0, 2), (0, 0)]
    lines = [f"{k},{k}.png,{y},{split},{k % 2},/o/x_{k}.jpg" for k, (y, split) in enumerate(cells)]
    path = write(images, "img_id,img_filename,y,split,place,place_filename", *lines)
    dataset = open_dataset(path)
    assert dataset.class_names == ("0", "1")
    assert dataset.ids == ("2.png", "4.png", "5.png", "0.png", "1.png", "3.png")
    assert dataset.splits.tolist() == [1, 2, 0, 0, 0, 1]
    assert [str(notice) for notice in dataset.notices] == ["metadata: splits 0, 1 and 2 are taken for train, val, test"]
    with pytest.raises(DataError, match="splits 0, 1 and 2 are taken for train, val, test; --strict takes only"):
        open_dataset(path, strict=True)


def test_domains_are_groups(images):
    lines = [f"{k}.png,{'ab'[k % 2]},{'train' if k < 4 else 'test'},site {k // 2}" for k in range(6)]
    dataset = open_dataset(write(images, "filename,y,split,domain", *lines))
    assert dataset.class_names == ("a", "b")
    assert dataset.groups == ("site 0", "site 1", "site 2") * 2
    assert dataset.splits.tolist() == [0, 0, 2] * 2
    assert not report(dataset, None, ()).wrong
    assert "3 groups have images of several classes" in str(report(dataset, None, ()).notes[0])


def test_a_column_group_comes_before_domain(images):
    lines = [f"{k}.png,{'ab'[k % 2]},g{k},d" for k in range(6)]
    assert open_dataset(write(images, "path,label,group,domain", *lines)).groups[0] == "g0"


@pytest.mark.parametrize(
    ("header", "message"),
    [("filename,x,y", "has no column 'label', one is needed"), ("filename,Y", "has no column 'label'")],
)
def test_coordinates_are_no_classes(images, header, message):
    lines = [",".join([f"{k}.png", *map(str, range(header.count(",")))]) for k in range(6)]
    with pytest.raises(DataError, match=message):
        open_dataset(write(images, header, *lines))


@pytest.mark.parametrize("splits", ["001122"[:2] + "0013", "010101", "0123 1"])
def test_other_numbers_are_no_splits(images, splits):
    """Numbers of folds, for example."""
    lines = [f"{k}.png,{'ab'[k % 2]},{split}" for k, split in enumerate(splits)]
    with pytest.raises(DataError, match="the split is none of train, val, test; correct it"):
        open_dataset(write(images, "path,label,split", *lines))


def test_y_counts_only_where_there_is_no_other_label(images):
    lines = [f"{k}.png,{'ab'[k % 2]},{k}" for k in range(6)]
    assert open_dataset(write(images, "path,class,y", *lines)).class_names == ("a", "b")
