"""Lists of splits: a user's own, and those of publishers."""

from dataclasses import replace

import numpy as np
import pytest
from fuzz.mutations import damaged
from fuzz.test_tables import cell_changed
from fuzz.trial import survive, tiers

from fewshot_bn.datasets import dataset_of_files, open_dataset
from fewshot_bn.datasets.publisher_lists import with_official_split
from fewshot_bn.datasets.split_lists import splits_of_list
from fewshot_bn.datasets.splits import split_of
from fewshot_bn.errors import DataError

NAMES = [f"{name}/{i}.png" for name in "ab" for i in range(4)]
LIST = "path,label,split\n" + "".join(
    f"{name},{name[0]},{('train', 'val', 'test')[i % 3]}\n" for i, name in enumerate(NAMES)
)


@tiers(60, 1000)
def test_lists_of_splits(tmp_path, numbers):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("image")
    dataset = dataset_of_files("mine", [(tmp_path / name, name[0]) for name in NAMES])
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    assert splits_of_list(path, dataset).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]

    def trial(rng):
        path.write_bytes(cell_changed(rng, LIST, ",") if rng.random() < 0.6 else damaged(rng, LIST.encode()))
        split = split_of(dataset, 0, path)
        assert set(dataset.labels[split.train]) == {0, 1}
        assert len(split.test) > 0
        rows = np.concatenate([split.train, split.val, split.test])
        assert len(rows) == len(set(rows.tolist())) == (splits_of_list(path, dataset) >= 0).sum()

    survive(trial, numbers)


@pytest.mark.parametrize("file", ["images.txt", "train_test_split.txt"])
@tiers(40, 500)
def test_lists_of_a_publisher(tmp_path, file, numbers):
    """That of CUB, which has two files that have to fit."""
    folder = tmp_path / "CUB_200_2011"
    names = [f"{name}/{i}.jpg" for name in ("001.a", "002.b") for i in range(4)]
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_text("image")
    texts = {
        "images.txt": "".join(f"{k} {name}\n" for k, name in enumerate(names, 1)),
        "train_test_split.txt": "".join(f"{k} {k % 2}\n" for k in range(1, 9)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    assert open_dataset("cub", root=tmp_path).splits.tolist() == [0, 2] * 4
    plain = replace(open_dataset("cub", root=tmp_path), splits=None)

    def trial(rng):
        text = texts[file]
        (folder / file).write_bytes(cell_changed(rng, text, " ") if rng.random() < 0.6 else damaged(rng, text.encode()))
        dataset = with_official_split(plain, "cub", folder / "images")
        assert dataset.splits is None or set(np.unique(dataset.splits)) <= {-1, 0, 2}
        wrong = [notice for notice in dataset.notices if notice.is_wrong]
        assert (dataset.splits is None) == bool(wrong)
        if wrong:
            raise DataError(str(wrong[0]))

    survive(trial, numbers)
