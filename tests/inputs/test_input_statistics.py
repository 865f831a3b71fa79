import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.networks import small_backbone, trained_on

from fewshot_bn.inputs.images import normalise
from fewshot_bn.inputs.input_statistics import PLACES, Moments, Symptoms, Watch, is_trained

CPU = torch.device("cpu")
PLAIN = Symptoms(64, (0.45,) * 3, (0.25,) * 3, shift=0.0, spread=0.0, deep_shift=0.0, deep_spread=0.0)


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def seen(backbone, pixels, n_filled=0):
    """What is seen of `pixels` in a batch that is filled up with black images."""
    watch, filling = Watch(backbone.module), pixels.new_zeros(n_filled, *pixels.shape[1:])
    with watch.on(pixels):
        backbone.features(normalise(torch.cat([pixels, filling]), backbone.preprocessing, CPU))
    return watch.symptoms()


def test_moments_over_batches_are_those_of_all_values():
    values = torch.randn(9, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3 + 10
    moments = Moments()
    for part in (values[:2], values[2:].contiguous(memory_format=torch.channels_last)):
        moments.add(part)
    rows = values.numpy().astype(float).transpose(1, 0, 2, 3).reshape(4, -1)
    mean, var = moments.mean_and_var()
    np.testing.assert_allclose(mean, rows.mean(1), rtol=1e-6)
    np.testing.assert_allclose(var, rows.var(1), rtol=1e-4)


@pytest.mark.parametrize("side", [7, 14, 56, 112])
def test_of_large_maps_some_places_are_taken_from_everywhere(side):
    """Each column and each row of the maps, in about the same measure."""
    places = torch.arange(side * side).reshape(1, 1, side, side).expand(40, 1, -1, -1)
    columns, rows, n = Moments(), Moments(), Moments()
    columns.add(places % side)
    rows.add(places // side)
    n.add(places)
    assert min(PLACES, side * side) * 40 <= n.n < 2.5 * PLACES * 40
    for moments in (columns, rows):
        mean, var = moments.mean_and_var()
        assert mean.item() == pytest.approx((side - 1) / 2, rel=0.02)
        assert var.item() == pytest.approx((side**2 - 1) / 12, rel=0.02)


def test_symptoms_are_those_of_the_written_out_network(pixels):
    backbone = small_backbone()
    found, network = seen(backbone, pixels, n_filled=5), backbone.module
    x = normalise(pixels, backbone.preprocessing, CPU)
    with torch.no_grad():
        a1 = network.conv1(x)
        z1 = network.bn1(a1).relu()
        a2 = network.conv2(z1)
        a3 = network.fc((z1 + network.bn2(a2)).relu().mean((2, 3)))
    far = []
    for layer, values in ((network.bn1, a1), (network.bn2, a2), (network.bn3, a3)):
        rows = values.transpose(0, 1).flatten(1).double().numpy()
        was = layer.running_var.double().sum().item() + layer.eps
        far.append(
            (
                np.sqrt(((rows.mean(1) - layer.running_mean.double().numpy()) ** 2).sum() / was),
                np.log((rows.var(1).sum() + layer.eps) / was) / 2,
            )
        )
    assert (found.shift, found.spread) == pytest.approx(far[0], rel=1e-4)
    assert (found.deep_shift, found.deep_spread) == pytest.approx(np.median(far, 0), rel=1e-4)
    channels = pixels.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert found.n_images == 12
    assert found.mean == pytest.approx(channels.mean(1), rel=1e-5)
    assert found.std == pytest.approx(channels.std(1), rel=1e-4)


def test_what_a_network_was_trained_on_has_no_symptoms(pixels):
    many = torch.cat([pixels, pixels.flip(2), pixels.flip(3), 255 - pixels])
    found = seen(trained_on(small_backbone(), many), many)
    assert max(map(abs, (found.shift, found.spread, found.deep_shift, found.deep_spread))) < 0.05
    assert found.distance < 0.1


def test_hooks_are_gone_afterwards_whatever_happens(pixels):
    backbone = small_backbone()
    seen(backbone, pixels)
    with pytest.raises(RuntimeError), Watch(backbone.module).on(pixels):
        backbone.module(torch.zeros(2, 5, 8, 8))
    assert not any(module._forward_pre_hooks for module in backbone.module.modules())


def test_another_thread_with_the_same_network_is_not_looked_at(pixels):
    backbone = small_backbone()
    alone = seen(backbone, pixels)
    watch = Watch(backbone.module)
    with watch.on(pixels):
        other = threading.Thread(target=backbone.features, args=(torch.full((4, 3, 8, 8), 9.0),))
        other.start()
        other.join()
        backbone.features(normalise(pixels, backbone.preprocessing, CPU))
    assert watch.symptoms() == alone


def test_untrained_networks_are_known():
    network = small_backbone().module
    assert is_trained(network)
    for layer in (network.bn1, network.bn2, network.bn3):
        layer.reset_running_stats()
    assert not is_trained(network)
    assert is_trained(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4)))


def test_what_pixels_explain_is_no_symptom():
    flat = replace(PLAIN, std=(0.1,) * 3)
    assert replace(flat, spread=np.log(0.4)).far_spread == pytest.approx(0)
    assert replace(flat, spread=np.log(0.2)).far_spread == pytest.approx(np.log(0.5))
    assert replace(flat, spread=0.0).far_spread == 0  # a network of such images
    assert replace(flat, spread=np.log(2)).far_spread == pytest.approx(np.log(2))
    assert replace(PLAIN, spread=np.log(4)).far_spread == pytest.approx(np.log(4))
    bright = replace(PLAIN, mean=(0.7,) * 3)
    assert replace(bright, shift=0.9).far_shift == 0
    assert replace(bright, shift=2.0).far_shift == pytest.approx(np.sqrt(3))


@pytest.mark.parametrize(
    "symptom",
    [
        {"shift": 2.0},
        {"spread": -0.8},
        {"shift": 4.0, "mean": (0.99,) * 3},
        {"spread": -1.5, "std": (0.02,) * 3},
        {"deep_shift": 3.0},
        {"deep_spread": 1.5},
    ],
)
def test_each_symptom_counts(symptom):
    assert PLAIN.distance == 0
    assert replace(PLAIN, **symptom).distance > 1
