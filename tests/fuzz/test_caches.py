"""Parts of the feature cache and stores of pixels: what is damaged is told, never used."""

import numpy as np
import pytest
import torch
from fuzz.mutations import damaged
from fuzz.trial import survive, tiers
from reference.networks import small_backbone

from fewshot_bn.datasets import open_dataset
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.store import Store
from fewshot_bn.preprocessing import Preprocessing

CPU = torch.device("cpu")
ROWS = np.arange(29)


@pytest.fixture
def images(drawn_images):
    return Images(open_dataset(str(drawn_images)), Preprocessing(8, 8))


@tiers(20, 2500)
def test_parts_of_features(images, tmp_path, numbers):
    backbone = small_backbone()

    def features():
        made = Features(images, backbone, device=CPU, cache=tmp_path)
        list(made.compute(ROWS))
        return made.gather(ROWS)

    right = features()
    (part,) = tmp_path.rglob("*.h5")
    whole = part.read_bytes()

    def trial(rng):
        part.write_bytes(damaged(rng, whole))
        assert torch.equal(features(), right)

    survive(trial, numbers)


@tiers(20, 2500)
def test_stores(images, tmp_path, numbers):
    def store():
        made = Store(images.dataset, images.preprocessing, tmp_path)
        list(made.fill(ROWS, n_workers=1))
        return made

    def pixels():
        there = np.empty((len(ROWS), 8, 8, 3), np.uint8)
        kept = store()
        for row in ROWS:
            kept.read(int(row), there[row])
        return there

    right = pixels()
    (path,) = tmp_path.glob("*.h5")
    whole = path.read_bytes()

    def trial(rng):
        path.write_bytes(damaged(rng, whole))
        assert (pixels() == right).all()

    survive(trial, numbers)
