"""Nearest neighbours against scikit-learn where votes differ; ties by hand."""

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem
from sklearn.neighbors import KNeighborsClassifier

from fewshot_bn.adapters.probes.knn import NearestNeighbours
from fewshot_bn.errors import UsageError


@pytest.mark.parametrize(
    ("sizes", "k"),
    [([1] * 5, 1), ([1, 1], 2), ([5] * 5, 4), ([9, 3], 5), ([4, 1, 7], 12), ([3] * 20, 7), ([5] * 20, 1)],
    ids=str,
)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("dim", [3, 50])
def test_shares_and_winners_equal_scikit_learn(sizes, k, metric, weights, dim, fresh_seed):
    z_s, y_s, z_q = problem(sizes, dim, fresh_seed)
    logits = NearestNeighbours(k=k, metric=metric, weights=weights)(z_s, y_s, z_q).logits
    for e in range(len(z_s)):
        model = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute").fit(z_s[e], y_s[e])
        shares = model.predict_proba(z_q[e])
        np.testing.assert_allclose(logits[e].softmax(-1), (k * shares + 1 / len(sizes)) / (k + 1), atol=2e-5)
        first, second = np.sort(shares)[:, :-3:-1].T
        untied = first - second > 1e-5
        np.testing.assert_array_equal(logits[e].argmax(-1)[untied], model.predict(z_q[e])[untied])


def on_a_line(positions):
    """Support images and one query, at 0, in the plane."""
    return torch.tensor([[[x, 0.0] for x in positions]]), torch.zeros(1, 1, 2)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_of_classes_with_equal_votes_that_of_the_nearest_image_wins(weights):
    z_s, z_q = on_a_line([3.0, -2.0, 2.0, -3.0, 9.0])
    y_s = torch.tensor([[0, 1, 1, 0, 2]])
    two_each = NearestNeighbours(k=4, weights="uniform")(z_s, y_s, z_q).logits[0, 0]
    assert two_each.argmax() == 1
    torch.testing.assert_close(two_each[0], two_each[1], atol=1e-5, rtol=0)
    z_s, z_q = on_a_line([2.0, -1.0, 2.0])  # one image at 1 and two at 2: equal votes by inverse distance
    winner = NearestNeighbours(k=3, weights=weights)(z_s, torch.tensor([[0, 1, 0]]), z_q).logits.argmax()
    assert winner == (1 if weights == "distance" else 0)


@pytest.mark.parametrize("y_s", [[2, 1, 0], [1, 0, 2], [0, 2, 1]])
def test_of_equally_near_images_that_of_the_lower_class_counts_as_nearer(y_s):
    z_s, z_q = on_a_line([1.0, -1.0, 1.0])
    for k in (1, 2, 3):
        assert NearestNeighbours(k=k)(z_s, torch.tensor([y_s]), z_q).logits.argmax() == 0


def test_images_at_distance_zero_vote_alone():
    here, there = 1e3 + torch.randn(2, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z_s = torch.stack([here, here, *[here + 1e-9 * there] * 3])[None]
    logits = NearestNeighbours(k=5, weights="distance")(z_s, torch.tensor([[2, 0, 1, 1, 1]]), z_s[:, :1]).logits
    expected = (5 * torch.tensor([0.5, 0, 0.5]) + 1 / 3) / 6
    torch.testing.assert_close(logits.softmax(-1)[0, 0].float(), expected, atol=1e-5, rtol=0)


def test_a_vector_of_zeros_is_orthogonal_to_all_others():
    z_s = torch.tensor([[[0.0, 0.0], [1.0, 3.0], [-1.0, 3.0]]])
    z_q = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]])
    logits = NearestNeighbours(metric="cosine")(z_s, torch.tensor([[0, 1, 2]]), z_q).logits
    assert logits.argmax(-1).tolist() == [[1, 2, 0, 0]]
    model = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(z_s[0], [0, 1, 2])
    assert model.predict(z_q[0]).tolist() == [1, 2, 0, 0]


def test_one_neighbour_has_a_probability_between_chance_and_certainty():
    z_s, z_q = on_a_line([1.0, 2.0, 3.0, 4.0, 5.0])
    p = NearestNeighbours()(z_s, torch.arange(5)[None], z_q).logits.softmax(-1)[0, 0]
    np.testing.assert_allclose(p, [0.6, 0.1, 0.1, 0.1, 0.1], atol=1e-6)


def test_more_neighbours_than_images_are_an_error():
    z_s, y_s, z_q = problem([1] * 5, 3, 0)
    with pytest.raises(UsageError, match="knn: k is 6, but an episode has 5 support images; lower knn.k or raise"):
        NearestNeighbours(k=6)(z_s, y_s, z_q)


def test_no_neighbours_are_an_error():
    with pytest.raises(UsageError, match="k is 0; it must be a finite number above 0"):
        NearestNeighbours(k=0)
