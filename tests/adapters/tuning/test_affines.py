"""What is trained of the norm layers, in absolute and in relative units."""

import math

import pytest
import torch
from reference.networks import small_backbone

from fewshot_bn.adapters.tuning.affines import Affines
from fewshot_bn.adapters.tuning.episodic_norm import episodic
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.norm_layers import affine_layers


@pytest.fixture
def network():
    backbone = small_backbone(dtype=torch.float64)
    return EpisodicNetwork(backbone, dict.fromkeys(affine_layers(backbone.module, "batch"), episodic), 2)


def of_layers(network, name):
    return torch.cat([getattr(layer, name) for layer in network.norms], 1)


@pytest.mark.parametrize("units", ["absolute", "relative"])
def test_they_start_as_they_are(network, units):
    gamma, beta = of_layers(network, "gamma"), of_layers(network, "beta")
    Affines(network, "both", units).apply()
    assert torch.equal(of_layers(network, "gamma"), gamma)
    assert torch.equal(of_layers(network, "beta"), beta)


@pytest.mark.parametrize("which", ["both", "scale", "shift"])
def test_the_first_step_of_adam_has_the_length_of_the_rate(network, which):
    """In units of the pretrained scales, whatever the number of channels."""
    gamma, beta = of_layers(network, "gamma"), of_layers(network, "beta")
    affines = Affines(network, which, "relative")
    optimiser = torch.optim.Adam(affines.values, lr=0.7)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, *gamma.shape, generator=generator, dtype=torch.float64)
    with torch.enable_grad():
        affines.apply()
        (weights[0] * affines.gamma + weights[1] * affines.beta).sum().backward()
    optimiser.step()
    affines.apply()
    tuned_gamma, tuned_beta = of_layers(network, "gamma"), of_layers(network, "beta")
    moved = torch.cat([(tuned_gamma - gamma) / gamma.abs(), (tuned_beta - beta) / gamma.abs()], 1)
    assert moved.norm(dim=1).tolist() == pytest.approx([0.7, 0.7], rel=1e-4)
    assert torch.equal(tuned_gamma, gamma) == (which == "shift")
    assert torch.equal(tuned_beta, beta) == (which == "scale")


def test_weight_decay_in_relative_units_pulls_to_the_pretrained_network(network):
    gamma = of_layers(network, "gamma")
    affines = Affines(network, "scale", "relative")
    optimiser = torch.optim.SGD(affines.values, lr=1.0, weight_decay=0.5)
    with torch.no_grad():
        affines.values[0].fill_(8.0)
    affines.values[0].grad = torch.zeros_like(affines.values[0])
    optimiser.step()
    affines.apply()
    assert torch.allclose(of_layers(network, "gamma"), gamma + gamma.abs() * 4 / math.sqrt(gamma.shape[1]))
