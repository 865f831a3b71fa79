"""Tuning to many images against the tuner itself, on one episode whose support set they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.many_shot import BATCHES, CPU, killed_and_continued, of_backbone, outcome
from reference.networks import small_backbone
from reference.tuning import assert_same_state, state_of

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.tuning.adapted import Episodes
from fewshot_bn.adapters.tuning.head_alone import HeadAlone
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.datasets.splits import Split
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.source import Source


def images(source, *rows):
    """Images and labels of each part of rows."""
    for part in rows:
        x = normalise(source.images.gather(part), source.images.preprocessing, CPU).double()
        yield x[None], torch.from_numpy(source.images.dataset.labels[part])[None]


def as_one_episode(tuner, source, split, seed=3):
    rows = np.sort(np.concatenate([split.train, split.val]))
    (x_s, y_s), (x_q, _) = images(source, rows, split.test)
    return tuner(source.backbone, x_s, y_s, x_q, seeds=[seed]).logits[0]


@pytest.mark.parametrize(
    "tuner",
    [
        FineTuning(**BATCHES),
        FineTuning(**BATCHES, statistics="batch", head="normal", nesterov=True, augment="flip,crop,colour"),
        FineTuning(**BATCHES, statistics="converted", head="proto", optimiser="adam", schedule="steps"),
        FineTuning(**BATCHES, units="features", lr_body=0.3, head="lr", scaling="l2", test_augment="flip,centre"),
        FineTuning(**BATCHES, scope="bias", label_smoothing=0.1, weight_decay=0.01),
        NormTuning(**BATCHES, statistics="batch", affines="scale", head="normal"),
        NormTuning(**BATCHES, units="relative", lr_norm=1.0, head="lr", scope="bn2", stop_loss=0.9),
        make_adapter("tsa", epochs=2, batch_size=4, readout="head", lr_head=0.01),
        make_adapter("lora", epochs=2, batch_size=40, readout="head", lr_head=0.01),
        HeadAlone(**BATCHES, head="normal"),
        HeadAlone(**BATCHES, augment="flip"),
    ],
    ids=str,
)
def test_training_equals_that_of_an_episode_of_all_images(tuner, source, split, exact, tmp_path, fresh_seed):
    source = of_backbone(source, small_backbone(fresh_seed))
    before = state_of(source.backbone)
    verdict = outcome(tuner, source, split, Checkpoint(tmp_path / "kept", "key"))
    expected = as_one_episode(tuner, source, split)
    torch.testing.assert_close(verdict.logits, expected, rtol=1e-7, atol=1e-9)
    assert verdict.converged
    assert (verdict.path, verdict.C) == ([], None)
    assert_same_state(before, state_of(source.backbone))


def test_readout_lr_fits_the_features_of_the_tuned_network(source, split, exact, tmp_path, fresh_seed):
    """The network sees training images alone; C is chosen on the others, and the fit to both classifies."""
    source = of_backbone(source, small_backbone(fresh_seed))
    tuner = FineTuning(**BATCHES, readout="lr", test_augment="flip", average_frozen=True)
    verdict = outcome(tuner, source, split, Checkpoint(tmp_path / "kept", "key"))

    (x_s, y_s), (x_v, y_v), (x_q, y_q) = images(source, split.train, split.val, split.test)
    adapted = tuner.adapted(source.backbone, tuner.choose(source.backbone), Episodes(x_s, y_s, x_q, [3], None))
    views = list(zip(*(adapted.features(x) for x in (x_s, x_v, x_q)), strict=True))
    assert len(views) == 4
    linear = LinearEvaluation(scaling="l2")
    samples = feed_samples(views, (y_s, y_v, y_q))
    right = []
    for fits in zip(*(linear.sweep(train, val) for train, val, _ in samples), strict=True):
        p = torch.stack([scores.softmax(1) for _, scores, _ in fits]).mean(0)
        right.append(float((p.argmax(1) == y_v[0]).double().mean()))
    C = linear.grid[int(np.argmax(right))]
    assert verdict.C == C
    assert [point["top-1"] for point in verdict.path] == right
    p = torch.stack([linear.fit(train + val, [test.z], C)[0][0].softmax(1) for train, val, test in samples]).mean(0)
    torch.testing.assert_close(verdict.logits.softmax(1), p, rtol=1e-7, atol=1e-9)


def feed_samples(views, labels):
    from fewshot_bn.evaluation.many_shot.samples import Samples

    return [[Samples(z[0], y[0], 3) for z, y in zip(view, labels, strict=True)] for view in views]


@pytest.mark.parametrize("readout", ["head", "lr"])
@pytest.mark.parametrize("members", ["joint", "two-stage"])
def test_networks_side_by_side(source, split, exact, tmp_path, readout, members):
    both = [small_backbone(seed) for seed in (1, 2)]
    both[1] = replace(both[1], preprocessing=replace(both[1].preprocessing, mean=(0.1,) * 3))
    source = of_backbone(source, concatenate(both))
    tuner = FineTuning(**BATCHES, members=members, readout=readout, statistics="batch")
    verdict = outcome(tuner, source, split, Checkpoint(tmp_path / "kept", "key"))
    if readout == "head":
        torch.testing.assert_close(verdict.logits, as_one_episode(tuner, source, split), rtol=1e-7, atol=1e-9)
    assert verdict.training["steps"] == {"joint": 1, "two-stage": 2}[members] * 3 * (4 if readout == "head" else 3)
    n_values = sum(p.numel() for p in source.backbone.module.parameters()) + 3 * source.backbone.dim
    assert verdict.training["trained_values"] == n_values + {"joint": 3, "two-stage": 6}[members]


@pytest.mark.usefixtures("kept_at_once")
@pytest.mark.parametrize("members", ["joint", "two-stage"])
def test_a_run_that_is_killed_goes_on_where_it_was(source, split, tmp_path, members, fresh_seed):
    both = concatenate([small_backbone(1), small_backbone(2)])
    images = Images(source.images.dataset, both.preprocessing)
    source = Source(images, both, Features(images, both, device=CPU), CPU)
    settings = {"optimiser": "adam", "statistics": "batch", "augment": "flip", "stop_loss": 1e-9}
    tuner = FineTuning(**BATCHES, **settings, members=members)
    whole = outcome(tuner, source, split, Checkpoint(tmp_path / "whole", "key"))
    chance = np.random.default_rng(np.random.Philox(fresh_seed))

    def start():
        return TunedEvaluation(tuner, source, split, 3).run(Checkpoint(tmp_path / "kept", "key"), "top-1")

    found, n_events, n_kills = killed_and_continued(start, chance)
    assert n_kills > 1
    assert n_events < 12 + 30 * n_kills
    assert whole.converged
    assert torch.equal(found.logits, whole.logits)
    assert found.training == whole.training


@pytest.mark.parametrize("readout", ["head", "lr"])
def test_a_training_that_diverges_stops_and_says_so(source, split, tmp_path, readout):
    tuner = FineTuning(**{**BATCHES, "epochs": 500}, lr_body=1e18, optimiser="sgd", readout=readout)
    verdict = outcome(tuner, source, split, Checkpoint(tmp_path / "kept", "key"))
    assert not verdict.converged
    assert verdict.logits.shape == (8, 3)
    assert not verdict.logits.isfinite().all()
    assert verdict.training["steps"] < 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"statistics": "support"}, "statistics=support is of episodes; with many images it has to be frozen or batch"),
        ({"statistics": "transductive"}, "statistics=transductive is of episodes"),
        ({"readout": "lr+ridge"}, "readout=lr.ridge is of episodes; with many images it has to be head or lr"),
        ({"batch_size": 0}, "batch_size=0 puts all images into a step"),
        ({"batch_size": 0, "head": "ncm"}, "head=ncm cannot have any: take another head"),
    ],
)
def test_settings_of_episodes_are_refused(source, split, settings, message):
    tuner = FineTuning(**{**BATCHES, **settings})
    with pytest.raises(UsageError, match=message):
        TunedEvaluation(tuner, source, split, 0)


def test_a_class_without_training_images(source, split):
    labels = source.images.dataset.labels
    without = [part[labels[part] != 1] for part in (split.train, split.val)]
    with pytest.raises(DataError, match="no training image is of class c"):
        TunedEvaluation(FineTuning(**BATCHES), source, Split(*without, split.test, official=True), 0)
