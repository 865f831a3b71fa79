"""Shipped cards on real files of weights and real images: the right input contract is worth many points."""

import pytest
from reference.places import SHARED

from fewshot_bn import FewShotConfig
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.experiment import results

IMAGES = SHARED / "data-dev" / "gtsrb"
REAL = [
    "mobilenet-v2-035",
    "mobilenet-v2-035-plain",
    "mobilenet-v1-025",
    "conv4-protonet-miniimagenet",
    "cifar-resnet20",
]
GAIN = 0.2  # over random weights; 26 to 37 points were found


def accuracy(model, **options):
    config = FewShotConfig(dataset=str(IMAGES), model=model, modes=["proto"], n_episodes=60, **options)
    (found,) = [result for result in results(config) if result.mode == "proto"]
    return found.accuracy.mean


@pytest.mark.full
@pytest.mark.skipif(not IMAGES.is_dir(), reason=f"the real images and weights are not in {SHARED}")
@pytest.mark.parametrize("name", REAL)
def test_real_weights_are_far_above_random_ones(name):
    backbone = load_backbone(name, root=SHARED / "weights", strict=True)
    assert backbone.notices == ()
    assert accuracy(name, model_root=SHARED / "weights") > accuracy(name, weights="random") + GAIN
