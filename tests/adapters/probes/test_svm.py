"""The machine on products of features against scikit-learn's on the features themselves."""

import numpy as np
import pytest
import torch
from reference.problems import feature_problem as problem
from sklearn.svm import SVC

from fewshot_bn.adapters.probes.svm import SupportVectorMachine
from fewshot_bn.errors import UsageError


@pytest.mark.parametrize("sizes", [[1] * 5, [5] * 5, [2, 7, 4], [4, 4], [1, 6], [2] * 12], ids=str)
@pytest.mark.parametrize("dim", [3, 50])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_scores_equal_scikit_learn(sizes, dim, C):
    z_s, y_s, z_q = problem(sizes, dim, 1)
    fit = SupportVectorMachine(C=C, tolerance=1e-9)(z_s, y_s, z_q)
    assert fit.converged.all()
    for e in range(len(z_s)):
        model = SVC(kernel="linear", C=C, tol=1e-9).fit(z_s[e], y_s[e])
        expected = model.decision_function(z_q[e])
        if len(sizes) == 2:
            expected = np.stack([-expected, expected], 1) / 2
            np.testing.assert_array_equal(fit.logits[e].argmax(-1), model.predict(z_q[e]))
        np.testing.assert_allclose(fit.logits[e], expected, atol=1e-5)


def test_scores_do_not_depend_on_the_distance_from_the_origin():
    z_s, y_s, z_q = problem([5] * 5, 50, 1)
    near, far = (SupportVectorMachine()(z_s + shift, y_s, z_q + shift).logits for shift in (0, 1e4))
    torch.testing.assert_close(near, far, atol=1e-6, rtol=0)


def test_the_default_tolerance_is_close_to_the_solution():
    z_s, y_s, z_q = problem([5] * 5, 50, 1)
    rough, exact = (SupportVectorMachine(tolerance=t)(z_s, y_s, z_q).logits for t in (1e-6, 1e-12))
    torch.testing.assert_close(rough, exact, atol=1e-5, rtol=0)


def test_scores_are_float64_and_steps_are_those_of_all_pairs():
    z_s, y_s, z_q = problem([5] * 4, 6, 0)
    fit = SupportVectorMachine()(z_s.float(), y_s, z_q.float())
    assert fit.logits.dtype == torch.float64
    for e in range(len(z_s)):
        z = z_s[e].float().double()
        model = SVC(kernel="linear", tol=1e-6).fit(z - z.mean(0), y_s[e])
        assert int(fit.steps[e]) == pytest.approx(int(model.n_iter_.sum()), rel=0.1)


def test_a_fit_that_runs_out_of_steps_says_so_without_a_warning():
    fit = SupportVectorMachine(max_steps=1)(*problem([5] * 5, 6, 0))
    assert (fit.steps.tolist(), fit.converged.tolist()) == ([10] * 3, [False] * 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"C": 0.0}, "C is 0.0; it must be a finite number above 0"),
        ({"tolerance": 0.0}, "tolerance is 0.0; it must be a finite number above 0"),
        ({"max_steps": 0}, "max_steps is 0; it must be a finite number above 0"),
        ({"max_steps": 2**31}, "max_steps is 2147483648; it must be at most 2,147,483,647"),
    ],
)
def test_settings_out_of_range_are_an_error(settings, message):
    with pytest.raises(UsageError, match=message):
        SupportVectorMachine(**settings)
