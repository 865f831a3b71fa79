"""Members tuned one by one against the plain loop on each, whose features or scores are then put together by hand."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from reference.networks import small_backbone

from benchmarks.references import PLAIN_VIEWS, plain_scores, plain_seen, plain_tuned, plain_tuning
from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.checks import CHECKS, Problem, make_problem
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.errors import ModelError, UsageError

SEEDS = [11, 5]
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)


def side_by_side(*, alike=True, dtype=torch.float64):
    """Two networks; with the same mean and std, or else each with its own."""
    first, second = small_backbone(1), small_backbone(2)
    if not alike:
        second = with_preprocessing(second, replace(second.preprocessing, mean=MEAN, std=STD))
    both = concatenate([first, second])
    both.module.to(dtype)
    return both


def problem(n_episodes=2, *, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_s, x_q = (torch.rand(n_episodes, n, 3, 8, 8, generator=generator, dtype=dtype) for n in (6, 5))
    y_s = torch.tensor([0, 0, 1, 1, 2, 2]).expand(n_episodes, -1).contiguous()
    return x_s, y_s, x_q


def own_images(both, x):
    """The images as each member has learnt to see them."""
    contracts = [member.preprocessing for member in both.members]
    if contracts[0] == contracts[1]:
        return [x, x]
    values = [[x.new_tensor(v)[:, None, None] for v in (one.mean, one.std)] for one in contracts]
    return [(x - mean) / std for mean, std in values]


def plain_episode(both: Backbone, x_s, y_s, x_q, settings, seed):
    """Scores of the queries of one episode."""
    x_s, x_q = own_images(both, x_s), own_images(both, x_q)
    alone = replace(settings, members="joint")
    tuned = [
        plain_tuned(member, x_s[p], y_s, x_q[p], settings=alone, seed=seed) for p, member in enumerate(both.members)
    ]
    versions = [[network for network, _ in tuned]]
    if settings.average_frozen:
        versions.append([member.module for member in both.members])
    views = [lambda x: x, *(PLAIN_VIEWS[name] for name in settings.test_augment.split(",") if name != "none")]
    scores = []
    with torch.no_grad():
        for networks, view in itertools.product(versions, views):
            z_s, z_q = ([network(view(x[p])) for p, network in enumerate(networks)] for x in (x_s, x_q))
            if settings.readout == "head":
                scores.append(sum(head(plain_seen(z, settings)) for (_, head), z in zip(tuned, z_q, strict=True)) / 2)
            else:
                seen = torch.cat(z_s, 1), y_s, torch.cat(z_q, 1)
                scores += plain_scores(torch.nn.Identity(), tuned[0][1], *seen, settings=settings)
    return scores[0] if len(scores) == 1 else torch.stack([score.softmax(-1) for score in scores]).mean(0).log()


def distance(both, settings, arguments):
    expected = torch.stack(
        [plain_episode(both, *(a[e] for a in arguments), settings, seed) for e, seed in enumerate(SEEDS)]
    )
    fit = settings(both, *arguments, seeds=SEEDS)
    assert fit.converged.all()
    return float((fit.logits - expected).abs().max() / expected.abs().max())


NORMS, BODY = NormTuning(members="two-stage", steps=6), FineTuning(members="two-stage", steps=6)


@pytest.mark.parametrize("alike", [True, False], ids=["one contract", "two contracts"])
@pytest.mark.parametrize(
    "readout", ["head", "ridge", *(pytest.param(name, marks=pytest.mark.full) for name in ("lr", "lr+ridge"))]
)
@pytest.mark.parametrize("tuner", [NORMS, BODY], ids=["norms", "weights"])
def test_equals_the_plain_loop_over_members_for_every_readout(tuner, readout, alike, fresh_seed):
    arguments = problem(seed=fresh_seed)
    assert distance(side_by_side(alike=alike), replace(tuner, readout=readout), arguments) < 1e-6


@pytest.mark.parametrize("statistics", ["batch", "converted", "support", "support+query", "transductive"])
@pytest.mark.parametrize("tuner", [NORMS, BODY], ids=["norms", "weights"])
def test_equals_the_plain_loop_over_members_for_every_policy(tuner, statistics):
    settings = replace(tuner, statistics=statistics, readout="ridge")
    assert distance(side_by_side(alike=False), settings, problem()) < 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "normal", "batch_size": 4},
        {"head": "lr", "scaling": "l2", "C": 10.0},
        {"test_augment": "flip,centre"},
        pytest.param({"test_augment": "flip", "readout": "lr"}, marks=pytest.mark.full),
        {"average_frozen": True, "readout": "ridge", "test_augment": "centre"},
        {"scope": "0.bn1,1.bn[23]"},
        {"units": "relative", "optimiser": "adam", "lr_norm": 1.0},
        {"steps": 0, "head": "proto"},
    ],
    ids=str,
)
def test_equals_the_plain_loop_over_members_for_other_settings(settings):
    chosen = replace(NORMS, **settings)
    if "scope" in settings:
        by_hand = [NormTuning(steps=6, scope=scope) for scope in ("bn1", "bn2,bn3")]
        both, (x_s, y_s, x_q) = side_by_side(), problem()
        alone = [
            plain_tuning(member, x_s, y_s, x_q, settings=one, seeds=SEEDS)
            for member, one in zip(both.members, by_hand, strict=True)
        ]
        expected = sum(alone) / 2
        assert torch.allclose(chosen(both, x_s, y_s, x_q, seeds=SEEDS).logits, expected, rtol=1e-6, atol=1e-9)
    else:
        assert distance(side_by_side(), chosen, problem()) < 1e-6


@pytest.mark.parametrize("mode", [pytest.param("bn", marks=pytest.mark.full), "bn-all", "lp-ft", "daft", "bitfit"])
def test_equals_the_plain_loop_over_members_for_the_presets(mode):
    preset = ADAPTERS[mode]
    shorter = replace(preset, epochs=min(preset.epochs, 2), steps=min(preset.steps, 6), members="two-stage")
    assert distance(side_by_side(alike=False), shorter, problem()) < 1e-6


@pytest.mark.parametrize("alike", [True, False], ids=["one contract", "two contracts"])
@pytest.mark.parametrize("mode", ["ft", "bias", "daft"])
def test_joint_tuning_equals_the_plain_loop_on_the_concatenation(mode, alike):
    both, arguments = side_by_side(alike=alike), problem()
    settings = make_adapter(mode, steps=4)
    expected = plain_tuning(both, *arguments, settings=settings, seeds=SEEDS)
    found = settings(both, *arguments, seeds=SEEDS).logits
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


@pytest.mark.parametrize("tuner", [replace(NORMS, readout="ridge"), replace(BODY, steps=3)], ids=["norms", "weights"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_to_the_contract(check, tuner):
    first = make_problem("images")
    others = [with_preprocessing(small_backbone(seed), first.backbone.preprocessing) for seed in (1, 2)]
    check(tuner, Problem(first.x_s, first.y_s, first.x_q, concatenate([first.backbone, *others])))


@pytest.mark.parametrize("tuner", [NORMS, replace(NORMS, readout="ridge"), BODY], ids=["head", "ridge", "weights"])
def test_how_many_images_are_in_memory_at_once_does_not_matter(tuner):
    both, arguments = side_by_side(), problem()
    expected = tuner(both, *arguments, seeds=SEEDS).logits
    for n in (1, 4, 100):
        found = tuner(both, *arguments, seeds=SEEDS, images_at_once=n).logits
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_steps_are_those_of_all_members():
    both, (x_s, y_s, x_q) = side_by_side(dtype=torch.float32), problem(dtype=torch.float32)
    assert NORMS(both, x_s, y_s, x_q).steps.tolist() == [12, 12]
    stopping = replace(NORMS, steps=40, stop_loss=1.0, lr_head=0.2, schedule="constant")
    alone = [replace(stopping, members="joint")(member, x_s, y_s, x_q).steps for member in both.members]
    assert torch.equal(stopping(both, x_s, y_s, x_q).steps, sum(alone))
    assert len({*alone[0].tolist(), *alone[1].tolist()}) > 1


def test_an_episode_that_diverges_is_reported_and_does_not_touch_the_others():
    both, (x_s, y_s, x_q) = side_by_side(dtype=torch.float32), problem(dtype=torch.float32)
    for readout in ("head", "ridge"):
        tuner = replace(NORMS, readout=readout)
        expected = tuner(both, x_s, y_s, x_q).logits
        broken = x_s.clone()
        broken[0] = torch.inf
        fit = tuner(both, broken, y_s, x_q)
        assert fit.converged.tolist() == [False, True]
        assert torch.allclose(fit.logits[1], expected[1], atol=1e-6)


def test_the_network_that_is_run_is_that_of_the_concatenation():
    """On a further device it is a copy there, while `members` still tells of the first."""
    both, arguments = side_by_side(dtype=torch.float32), problem()
    elsewhere = replace(both, module=copy.deepcopy(both.module).double())
    expected = NORMS(side_by_side(), *arguments).logits
    assert torch.allclose(NORMS(elsewhere, *arguments).logits, expected, rtol=1e-6)


@pytest.mark.parametrize("tuner", [NORMS, BODY], ids=["norms", "weights"])
def test_memory_is_that_of_the_largest_member(tuner):
    both = side_by_side(dtype=torch.float32)
    joint = replace(tuner, members="joint")
    alone = [joint.bytes_per_image(member) for member in both.members]
    assert tuner.bytes_per_image(both) == max(alone)
    assert joint.bytes_per_image(both) > max(alone)
    assert tuner.images_together(10, 20) == 10
    if isinstance(tuner, FineTuning):
        assert tuner.bytes_held(both) == max(joint.bytes_held(member) for member in both.members)
        assert joint.bytes_held(both) == 2 * tuner.bytes_held(both)


@pytest.mark.parametrize(
    ("tuner", "pattern", "lacks"),
    [(NORMS, "0.*", 1), (NORMS, "1.bn1,1.bn2", 0), (BODY, "0.conv1.*", 1)],
)
def test_a_scope_that_leaves_a_member_out_is_an_error_that_names_it(tuner, pattern, lacks):
    both = concatenate([replace(small_backbone(1), name="a"), replace(small_backbone(2), name="b")])
    name = "ab"[lacks]
    with pytest.raises(
        UsageError, match=rf"a\+b: members=two-stage, but scope names nothing of member {lacks} \({name}"
    ):
        replace(tuner, scope=pattern).check(both, 6, 5)
    replace(tuner, scope=pattern, members="joint").check(both, 6, 5)


def test_a_single_network_has_no_members():
    with pytest.raises(UsageError, match="small: members=two-stage, but it is a single network; name several"):
        NORMS.check(small_backbone(), 6, 5)


def test_members_that_see_images_of_different_geometry_are_an_error():
    first, second = small_backbone(1), small_backbone(2)
    second = with_preprocessing(second, replace(second.preprocessing, resize_px=16, crop_px=16))
    with pytest.raises(ModelError, match="its members see images of different geometry"):
        NORMS.check(concatenate([first, second]), 6, 5)
