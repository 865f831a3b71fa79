"""How many episodes go at once."""

from dataclasses import replace

import torch
from reference.problems import adapter_with

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.evaluation.memory import choose_portion


def portion(adapter, backbone, n_support):
    return choose_portion(adapter, backbone, torch.device("cpu"), n_support=n_support, n_query=75)


def test_the_default_chunk_shrinks_with_the_image_and_the_episode(source):
    bn = make_adapter("bn")
    sizes = []
    for side in (16, 32, 96, 224):
        geometry = replace(source.images.preprocessing, resize_px=side, crop_px=side)
        larger = replace(source.backbone, preprocessing=geometry)
        sizes.append(portion(bn, larger, 25).episodes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64 > sizes[-1] >= 1
    whole = portion(adapter_with("bn", {"batch_size": "0"}), larger, 100_000)
    assert whole.episodes == 1
    assert 13 < whole.images < 100_000
    assert portion(bn, larger, 25).images == 13


def test_weights_of_an_episode_leave_less_room_for_images(source):
    geometry = replace(source.images.preprocessing, resize_px=96, crop_px=96)
    backbone = replace(source.backbone, preprocessing=geometry)
    n_values = sum(parameter.numel() for parameter in backbone.module.parameters())
    assert make_adapter("ft-plain").bytes_held(backbone) == 3 * 4 * n_values
    assert make_adapter("ft-plain", units="relative").bytes_held(backbone) == 4 * 4 * n_values
    assert make_adapter("ft").bytes_held(backbone) == 5 * 4 * n_values
    assert make_adapter("bitfit").bytes_held(backbone) < 4 * 4 * n_values / 10
    before = portion(make_adapter("ft"), backbone, 25).episodes
    assert portion(Wider(), backbone, 25).episodes < before


class Wider(FineTuning):
    """With weights of 200 MB."""

    def bytes_held(self, backbone):
        return 2 * 10**8


def test_the_default_chunk_of_a_probe_shrinks_with_the_episode_and_the_features(source):
    lr = make_adapter("lr")
    wider = replace(source.backbone, dim=2048)
    sizes = [portion(lr, wider, n).episodes for n in (25, 250, 25_000, 10**7)]
    assert sizes == [81, 25, 1, 1]
    assert portion(lr, source.backbone, 25).episodes == 128
