"""The classifier in the span of the support set against torch's own layers and optimiser, one episode at a time."""

import math

import pytest
import torch
from reference.problems import feature_problem as problem
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from fewshot_bn import rng
from fewshot_bn.adapters.probes.cosine import CosineHead, initial_vectors
from fewshot_bn.errors import UsageError


def plain_cosine(z_s, y_s, z_q, settings):
    """Scores of one episode."""
    n_way, (n, dim) = int(y_s.max()) + 1, z_s.shape
    layer = nn.Linear(dim, n_way, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(initial_vectors(n_way, dim))
    layer = weight_norm(layer)
    optimiser = torch.optim.SGD(
        layer.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        dampening=settings.dampening,
        weight_decay=settings.weight_decay,
    )
    x_s, x_q = (z / z.norm(dim=1, keepdim=True) for z in (z_s, z_q))
    for epoch in range(settings.epochs):
        order = torch.from_numpy(rng.permutation(n, 0, "cosine", epoch))
        for rows in order.split(min(settings.batch_size or n, n)):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(settings.scale_factor * layer(x_s[rows]), y_s[rows])
            loss.backward()
            optimiser.step()
    return settings.scale_factor * layer(x_q).detach()


@pytest.fixture(autouse=True)
def global_state_as_before():
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws
        yield


@pytest.mark.parametrize(("sizes", "dim"), [([2] * 5, 60), ([3, 1, 2], 7), ([3, 6], 3), ([1] * 5, 40)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        CosineHead(epochs=20),
        CosineHead(epochs=20, lr=0.5, scale_factor=10.0, weight_decay=0.05),
        CosineHead(epochs=20, batch_size=0, lr=0.1, momentum=0.5, dampening=0.0),
        CosineHead(epochs=20, batch_size=10**30, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0),
    ],
    ids=["published", "fast", "whole", "plain"],
)
def test_scores_equal_a_plain_loop_in_all_dimensions(sizes, dim, settings, fresh_seed):
    z_s, y_s, z_q = problem(sizes, dim, fresh_seed)
    fit = settings(z_s, y_s, z_q)
    for e in range(len(z_s)):
        expected = plain_cosine(z_s[e], y_s[e], z_q[e], settings)
        torch.testing.assert_close(fit.logits[e], expected, atol=1e-8, rtol=1e-8)
    size = settings.batch_size or sum(sizes)
    assert fit.steps.tolist() == [settings.epochs * math.ceil(sum(sizes) / size)] * 3
    assert fit.converged.all()


def test_duplicated_images_and_images_of_zeros_stay_finite(fresh_seed):
    z_s, y_s, z_q = problem([4, 4], 30, fresh_seed)
    z_s[:, 1] = z_s[:, 0]
    z_s[:, 2] = z_q[:, 0] = 0
    fit = CosineHead(epochs=5)(z_s, y_s, z_q)
    assert fit.converged.all()
    assert torch.equal(fit.logits[:, 0], torch.zeros(3, 2, dtype=torch.float64))


def test_the_start_is_that_of_a_linear_layer():
    start = initial_vectors(5, 64)
    layer = nn.Linear(64, 5, bias=False, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    with rng.torch_state(0, "cosine"):
        layer.reset_parameters()
    assert torch.equal(layer.weight.data, start)
    assert torch.equal(initial_vectors(5, 64), start)


def test_training_that_explodes_says_so():
    fit = CosineHead(lr=1e30, weight_decay=1e30)(*problem([2, 2], 8, 0))
    assert fit.converged.tolist() == [False] * 3
    assert fit.steps.tolist() == [100] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale_factor": 0.0}, "scale_factor is 0.0; it must be a finite number above 0"),
        ({"lr": -1.0}, "lr is -1.0; it must be a finite number above 0"),
        ({"epochs": 0}, "epochs is 0; it must be a finite number above 0"),
        ({"batch_size": -1}, "batch_size is -1; it must be a finite number of 0 or more"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; it must be a finite number of 0 or more"),
        ({"momentum": 1.0}, "momentum is 1.0; it must be at least 0 and below 1"),
        ({"dampening": 1.0}, "dampening is 1.0; it must be at least 0 and below 1"),
        ({"momentum": 0.0}, "dampening is 0.9 and momentum is 0; dampening needs a momentum above 0"),
    ],
)
def test_settings_out_of_range_are_an_error(settings, message):
    with pytest.raises(UsageError, match=message):
        CosineHead(**settings)
