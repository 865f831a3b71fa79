"""Label propagation against its definition: loops over images for the graph, an inverse for the sum of all paths."""

import math

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem
from scipy.sparse.csgraph import connected_components

from fewshot_bn.adapters.probes.label_propagation import LEAST_SHARE, LabelPropagation
from fewshot_bn.errors import UsageError


def plain(z_s, y_s, z_q, *, neighbours, alpha, width):
    """Shares of one episode, and how many queries no label reaches over the published graph."""
    z, n = np.concatenate([z_s, z_q]), len(z_s)
    distances = np.square(z[:, None] - z).sum(-1)
    edges = set()
    for i in range(len(z)):
        others = sorted((j for j in range(len(z)) if j != i), key=lambda j: distances[i, j])
        edges |= {frozenset((i, j)) for j in others[:neighbours]}
    sigma_squared = width**2 * np.mean([distances[tuple(edge)] for edge in edges])
    joined = np.zeros_like(distances)
    for i, j in edges:
        joined[i, j] = joined[j, i] = 1
    component = connected_components(joined)[1]
    lost = [q for q in range(n, len(z)) if component[q] not in component[:n]]
    for q in lost:
        s = distances[q, :n].argmin()
        joined[q, s] = joined[s, q] = 1
    weights = joined * np.exp(-np.minimum(distances / (2 * sigma_squared), 50))
    degree = np.diag(weights.sum(1) ** -0.5)
    labels = np.eye(y_s.max() + 1)[y_s]
    labels = np.concatenate([labels, np.zeros((len(z_q), labels.shape[1]))])
    reach = (np.linalg.inv(np.eye(len(z)) - alpha * degree @ weights @ degree) @ labels)[n:]
    return reach / reach.sum(1, keepdims=True), len(lost)


@pytest.mark.parametrize("sizes", [[1] * 5, [1, 6], [5] * 3, [3, 1, 7]], ids=str)
@pytest.mark.parametrize("neighbours", [1, 4, 100])
@pytest.mark.parametrize(("alpha", "width"), [(0.99, 1.0), (0.3, 0.4)])
def test_equals_its_definition(sizes, neighbours, alpha, width, fresh_seed):
    z_s, y_s, z_q = problem(sizes, 8, fresh_seed)
    probe = LabelPropagation(scaling="raw", neighbours=neighbours, alpha=alpha, width=width)
    fit = probe(z_s, y_s, z_q)
    for e in range(len(z_s)):
        shares, lost = plain(*(x[e].numpy() for x in (z_s, y_s, z_q)), neighbours=neighbours, alpha=alpha, width=width)
        np.testing.assert_allclose(fit.logits[e].exp(), shares + LEAST_SHARE, rtol=1e-6)
        assert fit.measures["unreached"][e] == lost


def test_queries_that_no_label_reaches_are_joined_to_their_nearest_support_image():
    z_s = torch.tensor([[[0.0], [100.0]]])
    z_q = torch.tensor([[[1.0], [101.0], [60.0], [61.0]]])
    fit = LabelPropagation(scaling="raw", neighbours=1)(z_s, torch.tensor([[0, 1]]), z_q)
    assert fit.measures["unreached"].tolist() == [2]
    assert fit.logits.argmax(-1).tolist() == [[0, 1, 1, 1]]
    assert fit.logits.isfinite().all()


def test_a_far_image_keeps_its_label():
    """Its only edges are so long that their weights would be 0 in any number format."""
    z_s, y_s, z_q = problem([4, 4], 3, 0, n_query=60)
    z_q[:, 0] = z_s[:, 0] + 1e6
    fit = LabelPropagation(scaling="raw", neighbours=2, width=0.05)(z_s, y_s, z_q)
    assert fit.logits.isfinite().all()


def test_labels_follow_a_chain_of_queries_past_the_nearer_class():
    """Two half circles: the end of one is nearer to the support image of the other."""
    angles = torch.linspace(0, math.pi, 30, dtype=torch.float64)
    upper = torch.stack([angles.cos(), angles.sin()], 1)
    lower = torch.stack([1 - angles.cos(), 0.3 - angles.sin()], 1)
    z_s = torch.stack([upper[0], lower[0]])[None]
    z_q = torch.cat([upper[1:], lower[1:]])[None]
    y_q = torch.arange(2).repeat_interleave(29)
    logits = LabelPropagation(scaling="raw", neighbours=2)(z_s, torch.tensor([[0, 1]]), z_q).logits[0]
    nearest = torch.cdist(z_q, z_s)[0].argmin(-1)
    assert (logits.argmax(-1) == y_q).all()
    assert (nearest == y_q).double().mean() < 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 0}, "neighbours is 0; it must be a finite number above 0"),
        ({"alpha": 1.0}, "alpha is 1.0; it must be above 0 and at most 0.999999"),
        ({"alpha": 0.0}, "alpha is 0.0; it must be above 0 and at most 0.999999"),
        ({"width": 0.0}, "width is 0.0; it must be a finite number of at least 1e-30"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UsageError, match=message):
        LabelPropagation(**settings)
