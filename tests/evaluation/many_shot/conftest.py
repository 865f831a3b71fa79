"""A split of the drawn images, images in double precision, and checkpoints at every step."""

import numpy as np
import pytest

from fewshot_bn.datasets.splits import Split
from fewshot_bn.evaluation.many_shot import feed
from fewshot_bn.inputs.images import normalise


@pytest.fixture
def split():
    rows = np.random.default_rng(np.random.Philox(4)).permutation(29)
    return Split(*(np.sort(part) for part in np.split(rows, [15, 21])), official=False)


@pytest.fixture
def exact(monkeypatch):
    """Images in double precision."""
    monkeypatch.setattr(feed, "normalise", lambda *arguments: normalise(*arguments).double())


@pytest.fixture
def kept_at_once(monkeypatch):
    """The state of a training is written after every step."""
    monkeypatch.setattr("fewshot_bn.evaluation.many_shot.checkpoint.WRITE_S", 0.0)
    monkeypatch.setattr("fewshot_bn.evaluation.many_shot.checkpoint.WRITE_SHARE", 0)
