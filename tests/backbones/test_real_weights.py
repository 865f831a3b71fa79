"""Shipped cards on real files of weights and real images: the right input contract is worth many points."""

import pytest
from reference.places import SHARED

from fewshot_bn import FewShotConfig
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.experiment import results

IMAGES = SHARED / "data-dev" / "trashnet"
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not IMAGES.is_dir(), reason=f"the real images and weights are not in {SHARED}"),
]
# accuracy of nearest class means at least so far above that of the same network with random weights
GAINS = {
    "mobilenet-v2-035": 0.10,
    "mobilenet-v2-035-plain": 0.08,
    "mobilenet-v1-025": 0.10,
    "conv4-protonet-miniimagenet": 0.04,
    "cifar-resnet20": 0.03,
}


def accuracy(model, **options):
    config = FewShotConfig(dataset=str(IMAGES), model=model, modes=["proto"], n_episodes=60, **options)
    (found,) = [result for result in results(config) if result.mode == "proto"]
    return found.accuracy.mean


@pytest.mark.parametrize("name", GAINS)
def test_real_weights_are_far_above_random_ones(name):
    backbone = load_backbone(name, root=SHARED / "weights", strict=True)
    assert backbone.notices == ()
    pretrained = accuracy(name, model_root=SHARED / "weights")
    print(name, pretrained, accuracy(name, weights="random"))
    assert pretrained > accuracy(name, weights="random") + GAINS[name]
