"""Graphs of nearest images against scikit-learn's, and by hand where images are equally near."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import kneighbors_graph

from fewshot_bn.adapters.probes.neighbours import graph


@pytest.mark.parametrize("k", [1, 4, 8])
@pytest.mark.parametrize("dim", [2, 40])
def test_equals_scikit_learn_far_from_the_origin(k, dim, fresh_seed):
    z = 1e3 + torch.randn(3, 9, dim, generator=torch.Generator().manual_seed(fresh_seed), dtype=torch.float64)
    joined, distances, rounding = graph(z, k)
    for e, images in enumerate(z.numpy()):
        np.testing.assert_array_equal(joined[e], kneighbors_graph(images, k).toarray() > 0)
        np.testing.assert_allclose(distances[e], np.square(images[:, None] - images).sum(-1), rtol=1e-6, atol=1e-9)
        assert np.square(images - images.mean(0)).sum(-1).max() * 1e-12 == pytest.approx(float(rounding[e]))


def test_more_neighbours_than_there_are_others_are_all_others():
    z = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(graph(z, 20)[0], ~torch.eye(4, dtype=torch.bool).expand(2, -1, -1))


def test_a_single_image_has_no_neighbours():
    assert graph(torch.ones(2, 1, 3, dtype=torch.float64), 3)[0].tolist() == [[[False]]] * 2


def test_those_as_near_as_the_last_are_joined_as_well():
    z = torch.tensor([[[0.0], [1.0], [-1.0], [3.0]]], dtype=torch.float64)
    assert graph(z, 1)[0][0].tolist() == [
        [False, True, True, False],
        [True, False, False, False],
        [True, False, False, False],
        [False, True, False, False],
    ]


def test_distances_that_differ_by_rounding_are_equal():
    directions = torch.randn(30, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    around = 100 + torch.nn.functional.normalize(directions, dim=1) / 3
    z = torch.cat([torch.full((1, 7), 100.0), around])[None]
    assert graph(z, 4)[0][0, 0].tolist() == [False] + [True] * 30


def test_images_that_are_all_alike_are_all_joined():
    z = torch.full((1, 5, 3), 0.1, dtype=torch.float64)
    assert torch.equal(graph(z, 2)[0][0], ~torch.eye(5, dtype=torch.bool))
