"""A frozen network and its features."""

import pytest
import torch
from reference.networks import small_backbone
from torch import nn

from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.errors import ModelError
from fewshot_bn.preprocessing import Preprocessing


def test_features_are_those_of_the_plain_network():
    backbone = small_backbone()
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(backbone.features(x), backbone.module(x))


def test_a_network_that_gives_no_feature_vector_is_an_error():
    with pytest.raises(ModelError, match="gives no feature vector"):
        freeze_in_place(nn.Conv2d(3, 4, 1), "conv", "", Preprocessing(8, 8), architecture="conv")


def test_an_image_size_that_the_network_does_not_take_is_an_error():
    with pytest.raises(ModelError, match="small: does not take images of 8 px"):
        freeze_in_place(nn.Conv2d(3, 4, 9), "small", "", Preprocessing(8, 8), architecture="conv")


def test_the_fingerprint_tells_architecture_weights_and_buffers_apart():
    backbone = small_backbone()
    module, preprocessing = backbone.module, backbone.preprocessing

    def fingerprint(architecture="SmallNet"):
        return freeze_in_place(module, "any name", "any file", preprocessing, architecture=architecture).fingerprint

    assert fingerprint() == backbone.fingerprint != fingerprint("with other strides")
    module.bn1.running_mean[0] += 1
    assert fingerprint() != backbone.fingerprint
