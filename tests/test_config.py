"""What the fields of a config take from a program, which no parser of options has seen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from fewshot_bn import FewShotConfig, ManyShotConfig, open_dataset
from fewshot_bn.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_way", 1, "n_way is 1; a whole number of at least 2 is needed"),
        ("n_way", 5.0, "n_way is 5.0; a whole number of at least 2 is needed"),
        ("n_query", "15", "n_query is '15'; a whole number of at least 1 is needed"),
        ("n_query", True, "n_query is True; a whole number"),
        ("n_support", (5, 0), "n_support is 0; a whole number"),
        ("n_support", "15", "n_support is '15'; a whole number"),
        ("seed", None, "seed is None; a whole number of at least 0 is needed"),
        ("seed", -1, "seed is -1; a whole number of at least 0 is needed"),
        ("strict", "no", "strict is 'no'; True or False is needed"),
        ("keep_pixels", 0, "keep_pixels is 0; True or False is needed"),
        ("device", 0, "device is 0; a text is needed"),
        ("shard", (1, 8), r"shard is \(1, 8\); a text is needed"),
        ("output", 3, "output is 3; a path is needed"),
        (
            "model",
            nn.Identity(),
            "model is a Identity; a name, a path or a Backbone is needed: load_backbone and fr",
        ),
        ("dataset", ["a.png"], "dataset is a list; a name, a path or a Dataset is needed: open_dataset and dataset_of"),
        ("dataset", None, "dataset is a NoneType; a name"),
        ("preprocessing", 224, "preprocessing is a int; a name, a path or a Preprocessing is needed"),
    ],
)
def test_other_values_are_refused(field, value, message):
    with pytest.raises(UsageError, match=message):
        FewShotConfig(**{field: value})


def test_values_are_kept_in_one_form():
    config = FewShotConfig(
        n_support=np.int64(1),
        modes="bn",
        output="out",
        dataset=Path("folder"),
        weights=Path("a.pth"),
        n_way=np.int32(3),
    )
    assert (config.n_support, config.modes, config.output) == ((1,), ("bn",), Path("out"))
    assert (config.dataset, config.weights, config.n_way) == ("folder", "a.pth", 3)
    assert type(config.n_way) is int
    assert FewShotConfig(n_support=[1, 5]).n_support == (1, 5)
    assert FewShotConfig(metrics="auc").metrics == ("auc",)
    assert FewShotConfig(metrics=(name for name in ["auc", "f1"])).metrics == ("auc", "f1")
    assert ManyShotConfig(modes="lr").modes == ("lr",)
    assert FewShotConfig(dataset=open_dataset("digits")).dataset.name == "digits"


def test_several_names_or_objects_are_taken_each_as_one_would_be(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    digits = open_dataset("digits")
    config = ManyShotConfig(test_datasets=["~/a", Path("b"), digits])
    assert config.test_datasets == ("/home/somebody/a", "b", digits)
    assert ManyShotConfig(test_datasets=digits).test_datasets == (digits,)
    with pytest.raises(UsageError, match="test_datasets is a int; a name, a path or a Dataset is needed"):
        ManyShotConfig(test_datasets=["a", 3])


@pytest.mark.parametrize("kind", [FewShotConfig, ManyShotConfig])
def test_defaults_are_taken_as_they_are(kind):
    config = kind()
    assert {field.name: getattr(config, field.name) for field in dataclasses.fields(config)} == {
        field.name: field.default for field in dataclasses.fields(config)
    }


def test_a_home_that_the_shell_leaves_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    config = FewShotConfig(dataset="~/data", output="~/results", data_root=Path("~/sets"))
    assert (config.dataset, config.output) == ("/home/somebody/data", Path("/home/somebody/results"))
    assert config.data_root == Path("/home/somebody/sets")
