"""One contract for every adapter in `ADAPTERS`; the answers themselves are tested in files of their own."""

import dataclasses

import numpy as np
import pytest
import torch
from reference.problems import N_WAY, adapter_with
from reference.problems import adapter_problem as problem

from fewshot_bn.adapters import ADAPTERS, MODES, make_adapter, settings_of
from fewshot_bn.adapters.checks import CHECKS, Problem
from fewshot_bn.errors import DataError, FewshotError, UsageError


def reorder(arguments, episodes, support=slice(None)):
    *backbone, x_s, y_s, x_q = arguments
    return (*backbone, x_s[episodes][:, support], y_s[episodes][:, support], x_q[episodes])


def in_double(arguments):
    *backbone, x_s, y_s, x_q = arguments
    for each in backbone:
        each.module.double()
    return (*backbone, x_s.double(), y_s, x_q.double())


@pytest.fixture(params=ADAPTERS)
def name(request):
    return request.param


SHORTER = {
    "bn": {"epochs": 2, "readout": "ridge"},
    "bn23": {"epochs": 5},
    "bn-all": {"epochs": 5},
    "bn-cdfsl": {"epochs": 5},
    **{key: {"steps": 8} for key in ("ft-plain", "lp-ft", "daft", "bias", "bitfit", "tsa-ncm")},
    **{key: {"epochs": 2, "readout": "ridge"} for key in ("ft", "ft-last", "bn-last", "tsa", "lora")},
    "ft-cdfsl": {"epochs": 3},
    "gn": {"epochs": 2, "readout": "ridge"},
    "ln": {"epochs": 2, "readout": "ridge"},
}
every_adapter = pytest.mark.parametrize(
    ("name", "adapter"),
    [
        *(pytest.param(name, make_adapter(name, **SHORTER.get(name, {})), id=name) for name in ADAPTERS),
        *(pytest.param(name, ADAPTERS[name], id=f"{name} as it is", marks=pytest.mark.full) for name in SHORTER),
    ],
)


@every_adapter
def test_it_passes_the_checks_that_a_users_own_adapter_has_to_pass(name, adapter):
    *backbone, x_s, y_s, x_q = problem(name, n_episodes=4, n_support=4, n_query=3)
    for check in CHECKS:
        check(adapter, Problem(x_s, y_s, x_q, *backbone))


def test_settings_are_a_frozen_dataclass_with_defaults(name):
    adapter = make_adapter(name)
    assert adapter.__dataclass_params__.frozen
    fields = {field.name: field for field in dataclasses.fields(adapter)}
    assert all(field.default is not dataclasses.MISSING for field in fields.values())
    later = {name: field.default for name, field in fields.items() if field.metadata["later"]}
    untold = {name for name, default in later.items() if getattr(adapter, name) == default}
    assert set(settings_of(adapter)) == fields.keys() - untold


@pytest.mark.parametrize("mode", ["bn", "ft"])
def test_a_setting_that_was_added_later_is_told_where_it_is_set(mode):
    assert settings_of(make_adapter(mode, members="joint")) == settings_of(make_adapter(mode))
    assert settings_of(make_adapter(mode, members="two-stage"))["members"] == "two-stage"


def test_the_fit_has_its_shape_and_beats_chance(name):
    fit = make_adapter(name)(*problem(name))
    assert fit.logits.shape == (4, 15, N_WAY)
    assert fit.converged.tolist() == [True] * 4
    y_q = torch.arange(N_WAY).repeat_interleave(5)
    assert (fit.logits.argmax(-1) == y_q).float().mean() > 0.5


@every_adapter
def test_same_arguments_same_answer_and_arguments_untouched(name, adapter):
    arguments = problem(name)
    before = [a.clone() for a in arguments if isinstance(a, torch.Tensor)]
    first, second = adapter(*arguments), adapter(*arguments)
    assert torch.equal(first.logits, second.logits)
    assert all(map(torch.equal, before, [a for a in arguments if isinstance(a, torch.Tensor)]))


@every_adapter
def test_the_global_generator_is_left_alone(name, adapter):
    arguments, before = problem(name), torch.get_rng_state()
    adapter(*arguments)
    assert torch.equal(before, torch.get_rng_state())


@every_adapter
def test_permuting_episodes_permutes_answers(name, adapter):
    arguments, order = problem(name), torch.tensor([2, 0, 3, 1])
    expected = adapter(*arguments).logits[order]
    assert torch.allclose(adapter(*reorder(arguments, order)).logits, expected, atol=1e-5)


@every_adapter
def test_episodes_are_independent(name, adapter):
    arguments = in_double(problem(name))  # large rates magnify rounding
    together = adapter(*arguments).logits
    for e in range(4):
        alone = adapter(*reorder(arguments, slice(e, e + 1))).logits
        assert torch.allclose(alone[0], together[e], atol=1e-5)


@every_adapter
def test_the_order_of_support_images_does_not_matter(name, adapter):
    if getattr(adapter, "batch_size", 0) in range(1, 6):
        pytest.skip("its batches are drawn by position in the support set")
    arguments, order = in_double(problem(name)), torch.tensor([3, 0, 5, 1, 4, 2])  # large rates magnify rounding
    expected = adapter(*arguments).logits
    assert torch.allclose(adapter(*reorder(arguments, slice(None), order)).logits, expected, atol=1e-4)


@every_adapter
def test_each_query_is_classified_on_its_own(name, adapter):
    """Another set of queries does not change the answer for one of them, in all modes but those whose title says so."""
    *others, x_q = problem(name)
    assert adapter.transductive == MODES[name].title.startswith("transductive: ")
    if adapter.transductive:
        return
    expected = adapter(*others, x_q).logits[:, :2]
    assert torch.allclose(adapter(*others, x_q[:, :2].contiguous()).logits, expected, atol=1e-5)


def test_a_transductive_adapter_says_so():
    *others, x_q = problem("bn")
    adapter = adapter_with("bn", {"statistics": "transductive"})
    assert adapter.transductive
    alone = adapter(*others, x_q[:, :2].contiguous()).logits
    assert not torch.allclose(alone, adapter(*others, x_q).logits[:, :2], atol=1e-3)


@pytest.mark.parametrize("labels", [[3, 3, 4, 4, 5, 5], [0, 0, 0, 0, 2, 2], [0, 0, 0, 0, 0, 0], [-1, -1, 0, 0, 1, 1]])
def test_labels_that_are_not_0_to_way_are_an_error(name, labels):
    *others, x_s, _, x_q = problem(name, n_episodes=1)
    with pytest.raises(DataError, match="support labels must be"):
        make_adapter(name)(*others, x_s, torch.tensor([labels]), x_q)


def test_an_unknown_mode_names_the_closest():
    with pytest.raises(
        UsageError, match=r"unknown mode 'prot' \(did you mean 'proto'\?\); there are \d+, such as: proto"
    ):
        make_adapter("prot")


def test_settings_are_parsed_from_text():
    adapter = adapter_with("bn", {"steps": "7", "lr_head": "1e-1"})
    assert (adapter.steps, adapter.lr_head, adapter.momentum) == (7, 0.1, 0.9)


@pytest.mark.parametrize(
    ("mode", "settings", "steps_and_epochs"),
    [
        ("bn", {}, (0, 10)),
        ("bn", {"steps": "7"}, (7, 0)),
        ("bn", {"epochs": "2"}, (0, 2)),
        ("bn", {"steps": "0"}, (0, 0)),
        ("bn-plain", {"epochs": "2"}, (0, 2)),
        ("bn23", {"steps": "7", "epochs": "0"}, (7, 0)),
    ],
)
def test_of_steps_and_epochs_the_one_that_is_named_counts(mode, settings, steps_and_epochs):
    adapter = adapter_with(mode, settings)
    assert (adapter.steps, adapter.epochs) == steps_and_epochs


@pytest.mark.parametrize(
    ("mode", "settings", "message"),
    [
        ("bn", {"step": "7"}, r"unknown setting of bn 'step' \(did you mean 'steps'\?\)"),
        ("bn", {"steps": "7.5"}, "bn.steps is '7.5'; it must be a whole number"),
        ("bn-plain", {"steps": "0"}, "bn-plain: steps and epochs are 0, so head=zero would never learn anything"),
        ("bn", {"steps": "7", "epochs": "2"}, "bn: steps is 7 and epochs is 2; only one of them can be above 0"),
        ("bn", {"lr_head": "-1"}, "bn: lr_head is -1.0; it must be a finite number of 0 or more"),
        ("bn", {"lr_norm": "nan"}, "bn: lr_norm is nan"),
        ("bn", {"momentum": "1"}, "bn: momentum is 1.0; it must be at least 0 and below 1"),
        ("lr", {"C": "many"}, "lr.C is 'many'; it must be a number"),
        ("lr", {"C": "0"}, "lr: C is 0.0; it must be a finite number above 0"),
        ("lr", {"C": "inf"}, "lr: C is inf"),
        ("proto", {"C": "1"}, "unknown setting of proto 'C'; choose from: scaling"),
        ("proto", {"takes": "images"}, "unknown setting of proto 'takes'"),
        ("lr", {"scaling": "l3"}, r"unknown value of lr.scaling 'l3' \(did you mean 'l2'\?\); choose from: raw, l2, "),
        ("ridge", {"alpha": "-1"}, "ridge: alpha is -1.0; it must be a finite number of 0 or more"),
        ("lda", {"shrinkage": "2"}, "lda: shrinkage is 2.0; it must be at least 0 and at most 1"),
        ("knn", {"k": "0"}, "knn: k is 0; it must be a finite number above 0"),
        ("knn", {"metric": "cos"}, r"unknown value of knn.metric 'cos' \(did you mean 'cosine'\?\)"),
        ("svm", {"C": "0"}, "svm: C is 0.0; it must be a finite number above 0"),
        ("cosine", {"epochs": "0"}, "cosine: epochs is 0; it must be a finite number above 0"),
        ("cosine", {"momentum": "0"}, "cosine: dampening is 0.9 and momentum is 0; dampening needs a momentum above 0"),
    ],
)
def test_wrong_settings(mode, settings, message):
    with pytest.raises(FewshotError, match=message):
        adapter_with(mode, settings)


def test_features_that_are_not_finite_are_an_error():
    z_s, y_s, z_q = problem("proto")
    z_s[1, 4, 0] = float("nan")
    for mode in (name for name, adapter in ADAPTERS.items() if adapter.takes == "features"):
        with pytest.raises(DataError, match="support image 4 in episode 1 of this batch are not finite"):
            make_adapter(mode)(z_s, y_s, z_q)


@pytest.mark.parametrize(
    ("mode", "settings", "message"),
    [
        ("bn", {"epochs": "many"}, "bn.epochs is 'many'; a whole number is needed"),
        ("bn", {"epochs": True}, "bn.epochs is True; a whole number is needed"),
        ("bn", {"epochs": 2.5}, "bn.epochs is 2.5; a whole number is needed"),
        ("lr", {"C": "1"}, "lr.C is '1'; a number is needed"),
        ("lr", {"scaling": "L2"}, r"unknown value of lr.scaling 'L2' \(did you mean 'l2'\?\)"),
        ("knn", {"k": None}, "knn.k is None; a whole number is needed"),
    ],
)
def test_settings_of_another_kind_are_refused(mode, settings, message):
    with pytest.raises(UsageError, match=message):
        make_adapter(mode, **settings)


def test_numbers_of_numpy_are_kept_as_plain_ones():
    settings = settings_of(make_adapter("lr", C=np.float32(2), folds=np.int64(3)))
    assert (settings["C"], settings["folds"]) == (2.0, 3)
    assert (type(settings["C"]), type(settings["folds"])) == (float, int)
