"""Lists of episodes: JSON lines and tables."""

import json

import numpy as np
import pytest
from fuzz.mutations import as_json, damaged, digit_changed, hostile
from fuzz.trial import survive, tiers

from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, read_list, sample, write_list
from fewshot_bn.errors import DataError

DRAWN = {"dataset": "shapes", "seed": 0, "kind": "random", "by_group": False}


@pytest.fixture
def dataset(drawn_images):
    return open_dataset(str(drawn_images))


@pytest.mark.parametrize(("suffix", "ranks"), [("jsonl", False), ("jsonl", True), ("csv", False)])
@tiers(20, 800)
def test_lists(dataset, tmp_path, suffix, ranks, numbers):
    path = tmp_path / f"list.{suffix}"
    episodes = sample(dataset.class_sizes, EpisodeShape(3, 2, 1), seed=0, n_episodes=3)
    classes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
    write_list(path, episodes, classes, ids=None if ranks else dataset.ids, drawn=DRAWN)
    whole = path.read_bytes()
    assert read_list(path).episodes(dataset).fingerprint == episodes.fingerprint

    def trial(rng):
        how = rng.random()
        if how < 0.4 and suffix == "jsonl":
            lines = [json.loads(line) for line in whole.splitlines()]
            place = int(rng.integers(len(lines)))
            lines[place] = hostile(rng, lines[place])
            path.write_bytes(b"\n".join(map(as_json, lines)))
        else:
            path.write_bytes((damaged if how < 0.8 else digit_changed)(rng, whole))
        listed = read_list(path)
        if next(listed.problems(), None):
            raise DataError("it says itself what is wrong")
        found = listed.episodes(dataset)
        rows = np.concatenate([found.support, found.query], -1)
        assert all(len(set(of_episode.ravel().tolist())) == of_episode.size for of_episode in rows)
        assert (dataset.labels[rows] == found.classes[..., None]).all()

    survive(trial, numbers)
