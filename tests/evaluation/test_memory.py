"""How many episodes go at once."""

from dataclasses import replace

from fewshot_bn.adapters import make_adapter
from fewshot_bn.evaluation.memory import choose_portion
from fewshot_bn.inputs.images import Images


def test_the_default_chunk_shrinks_with_the_image_and_the_episode(source):
    bn = make_adapter("bn")
    sizes = []
    for side in (16, 32, 96, 224):
        geometry = replace(source.images.preprocessing, resize_px=side, crop_px=side)
        backbone = replace(source.backbone, preprocessing=geometry)
        larger = replace(source, images=Images(source.images.dataset, geometry), backbone=backbone)
        sizes.append(choose_portion(bn, larger, 25, 75).episodes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64 > sizes[-1] >= 1
    whole = choose_portion(make_adapter("bn", {"batch_size": "0"}), larger, 100_000, 75)
    assert whole.episodes == 1
    assert 13 < whole.images < 100_000
    assert choose_portion(bn, larger, 25, 75).images == 13


def test_the_default_chunk_of_a_probe_shrinks_with_the_episode_and_the_features(source):
    lr = make_adapter("lr")
    wider = replace(source, backbone=replace(source.backbone, dim=2048))
    sizes = [choose_portion(lr, wider, n, 75).episodes for n in (25, 250, 25_000, 10**7)]
    assert sizes == [81, 25, 1, 1]
    assert choose_portion(lr, source, 25, 75).episodes == 128
