"""What all transductive probes have in common."""

import pytest
import torch
from reference.problems import feature_problem as problem

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.probes import span
from fewshot_bn.errors import DataError

MODES = ("soft-kmeans", "label-propagation", "laplacian")
SCALINGS = ("raw", "l2", "centred_l2", "centred_all_l2", "centred_each_l2")
every_mode = pytest.mark.parametrize("name", MODES)


def test_they_are_the_probes_that_say_so():
    said = [name for name, adapter in ADAPTERS.items() if adapter.takes == "features" and adapter.transductive]
    assert said == list(MODES)


@every_mode
@pytest.mark.parametrize("scaling", SCALINGS)
def test_permuting_queries_permutes_answers(name, scaling, fresh_seed):
    z_s, y_s, z_q = problem([3] * 4, 8, fresh_seed)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(fresh_seed))
    probe = make_adapter(name, scaling=scaling)
    torch.testing.assert_close(probe(z_s, y_s, z_q[:, order]).logits, probe(z_s, y_s, z_q).logits[:, order])


@every_mode
def test_queries_have_a_say_in_how_others_are_classified(name):
    z_s, y_s, z_q = problem([3] * 4, 8, 0)
    probe = make_adapter(name)
    some = probe(z_s, y_s, z_q[:, :6].contiguous()).logits
    assert not torch.allclose(some, probe(z_s, y_s, z_q).logits[:, :6], atol=1e-3)


@every_mode
@pytest.mark.parametrize("numbers", [1, 2500, 2**30])
def test_how_many_episodes_go_together_changes_nothing(name, numbers, monkeypatch):
    z_s, y_s, z_q = problem([3] * 4, 8, 1, n_episodes=7)
    expected = make_adapter(name)(z_s, y_s, z_q)
    monkeypatch.setattr(span, "NUMBERS_AT_ONCE", numbers)
    found = make_adapter(name)(z_s, y_s, z_q)
    torch.testing.assert_close(found.logits, expected.logits)
    assert torch.equal(found.steps, expected.steps)
    in_chunks = [make_adapter(name)(z_s[part], y_s[part], z_q[part]).logits for part in (slice(0, 3), slice(3, 7))]
    torch.testing.assert_close(torch.cat(in_chunks), expected.logits)


@every_mode
@pytest.mark.parametrize("scaling", SCALINGS)
def test_images_that_are_all_alike_have_equal_scores(name, scaling):
    z_s, z_q, y_s = torch.full((2, 6, 5), 0.1), torch.full((2, 4, 5), 0.1), torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    fit = make_adapter(name, scaling=scaling)(z_s, y_s, z_q)
    torch.testing.assert_close(fit.logits, fit.logits[:, :, :1].expand_as(fit.logits))
    assert fit.logits.isfinite().all()
    assert fit.converged.all()


@every_mode
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("n_query", [1, 2])
def test_few_queries(name, scaling, n_query):
    z_s, y_s, z_q = problem([1, 1], 8, 2, n_query=n_query)
    fit = make_adapter(name, scaling=scaling)(z_s.float(), y_s, z_q.float())
    assert fit.logits.shape == (3, n_query, 2)
    assert fit.logits.isfinite().all()


@pytest.mark.parametrize("scaling", ["raw", "centred_all_l2"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("soft-kmeans", {"temperature": 1e-30}),
        ("soft-kmeans", {"temperature": 1e38}),
        ("label-propagation", {"width": 1e-30}),
        ("label-propagation", {"width": 1e38, "alpha": 0.999999}),
        ("laplacian", {"temperature": 1e-30, "strength": 1e38}),
    ],
)
def test_settings_and_features_at_their_limits_give_finite_scores(name, settings, scaling):
    z_s, y_s, z_q = problem([3] * 4, 8, 3)
    for size in (1e37, 1e-30):
        fit = make_adapter(name, scaling=scaling, **settings)((size * z_s).float(), y_s, (size * z_q).float())
        assert fit.logits.isfinite().all()


@every_mode
def test_features_that_are_not_finite_are_an_error(name):
    z_s, y_s, z_q = problem([3] * 4, 8, 3)
    z_q[1, 2, 0] = torch.inf
    with pytest.raises(DataError, match="query image 2 in episode 1 of this batch are not finite"):
        make_adapter(name)(z_s, y_s, z_q)
