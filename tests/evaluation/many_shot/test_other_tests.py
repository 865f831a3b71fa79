"""Classifiers tested on other images than those of the split, against the tuner and the fit called by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from reference.many_shot import BATCHES, CPU, answer, of_backbone
from reference.networks import small_backbone
from sklearn.linear_model import LogisticRegression

from fewshot_bn.adapters.tuning.adapted import Episodes
from fewshot_bn.adapters.tuning.head_alone import HeadAlone
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.concatenation import concatenate
from fewshot_bn.datasets import open_dataset
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.grid import Grid, Search
from fewshot_bn.evaluation.many_shot.learner import Learner
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.other_tests import OtherTest
from fewshot_bn.evaluation.many_shot.samples import Samples, View
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.evaluation.many_shot.verdict import LEAST_IN_GROUP, worst_group
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.source import Source


@pytest.fixture
def other_folders(tmp_path, rng):
    """Two folders of two classes, with images of another size."""
    for root, names in {"one": ["c", "d e"], "two": ["a, b", "c"]}.items():
        for name in names:
            (tmp_path / root / name).mkdir(parents=True)
            for k in range(5):
                pixels = rng.integers(0, 256, (30, 17, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / root / name / f"{k}.png")
    return [tmp_path / "one", tmp_path / "two"]


def others_of(source, folders):
    """Some rows of each folder under the backbone of the source."""
    for folder, rows in zip(folders, ([9, 1, 4], [0, 2, 3, 8]), strict=True):
        dataset = open_dataset(str(folder))
        there = replace(
            source,
            images=(images := Images(dataset, source.images.preprocessing)),
            features=type(source.features)(images, source.backbone, device=CPU),
        )
        yield OtherTest(folder.name, there, np.array(rows), dataset.labels[rows])


def pixels_of(source, rows):
    return normalise(source.images.gather(rows), source.images.preprocessing, CPU).double()[None]


def run(tuner, source, split, tmp_path, others):
    return answer(TunedEvaluation(tuner, source, split, 3, others).run(Checkpoint(tmp_path / "kept", "key"), "top-1"))


@pytest.mark.parametrize(
    "tuner",
    [
        FineTuning(**BATCHES, statistics="batch", head="normal", augment="flip,crop"),
        FineTuning(**BATCHES, statistics="converted", head="proto", test_augment="flip,centre"),
        NormTuning(**BATCHES, statistics="batch", affines="scale", head="normal", scaling="l2"),
        HeadAlone(**BATCHES, head="normal"),
    ],
    ids=str,
)
def test_the_head_classifies_them_as_queries_of_one_episode(
    tuner, source, split, exact, other_folders, tmp_path, fresh_seed
):
    source = of_backbone(source, small_backbone(fresh_seed))
    others = list(others_of(source, other_folders))
    found, alone = (run(tuner, source, split, tmp_path / f"{len(some)}", some) for some in (others, ()))
    rows = np.sort(np.concatenate([split.train, split.val]))
    y_s = torch.from_numpy(source.images.dataset.labels[rows])[None]
    for other, logits in zip(others, found.others, strict=True):
        x_q = pixels_of(other.source, other.rows)
        expected = tuner(source.backbone, pixels_of(source, rows), y_s, x_q, seeds=[3]).logits[0]
        torch.testing.assert_close(logits, expected, rtol=1e-7, atol=1e-9)
    assert torch.equal(found.logits, alone.logits)
    assert alone.others == ()


@pytest.mark.parametrize("readout", ["head", "lr"])
def test_networks_side_by_side(source, split, exact, other_folders, tmp_path, readout):
    """Trained one after the other; images are those that each member takes."""
    both = [small_backbone(seed) for seed in (1, 2)]
    both[1] = replace(both[1], preprocessing=replace(both[1].preprocessing, mean=(0.1,) * 3))
    source = of_backbone(source, concatenate(both))
    tuner = FineTuning(**BATCHES, members="two-stage", readout=readout, statistics="batch")
    (same,) = others_of_split(source, split)
    found = run(tuner, source, split, tmp_path, [same])
    torch.testing.assert_close(found.others[0], found.logits, rtol=1e-12, atol=0)


def others_of_split(source, split):
    """The test images of the split once more, through a source of their own."""
    images = Images(source.images.dataset, source.images.preprocessing)
    there = Source(images, source.backbone, type(source.features)(images, source.backbone, device=CPU), CPU)
    yield OtherTest("same", there, split.test, source.images.dataset.labels[split.test])


@pytest.mark.full
def test_readout_lr_fits_once_and_classifies_all(source, split, exact, other_folders, tmp_path, fresh_seed):
    source = of_backbone(source, small_backbone(fresh_seed))
    others = list(others_of(source, other_folders))
    tuner = FineTuning(**BATCHES, readout="lr", test_augment="flip", average_frozen=True)
    found, alone = (run(tuner, source, split, tmp_path / f"{len(some)}", some) for some in (others, ()))
    assert torch.equal(found.logits, alone.logits)
    assert (found.C, found.path) == (alone.C, alone.path)

    rows = [split.train, split.val]
    (x_s, x_v), (y_s, y_v) = (
        [pixels_of(source, part) for part in rows],
        [torch.from_numpy(source.images.dataset.labels[part]) for part in rows],
    )
    adapted = tuner.adapted(source.backbone, tuner.choose(source.backbone), Episodes(x_s, y_s[None], x_v, [3], None))
    for other, logits in zip(others, found.others, strict=True):
        views = zip(*(adapted.features(x) for x in (x_s, x_v, pixels_of(other.source, other.rows))), strict=True)
        p = []
        for z_s, z_v, z_q in views:
            fitted, _ = LinearEvaluation(scaling="l2").fit(
                Samples(z_s[0], y_s, 3) + Samples(z_v[0], y_v, 3), [z_q[0]], found.C
            )
            p.append(fitted[0].softmax(1))
        torch.testing.assert_close(logits.softmax(1), torch.stack(p).mean(0), rtol=1e-7, atol=1e-9)


def test_linear_evaluation_scores_each_set_as_scikit_learn(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)

    def drawn(n):
        y = torch.cat([torch.arange(3), torch.randint(3, (n - 3,), generator=generator)])
        return Samples(torch.randn(n, 6, generator=generator) + 2 * torch.nn.functional.one_hot(y, 6), y, 3)

    train, val, test, one, two = (drawn(n) for n in (40, 12, 9, 7, 20))
    linear = LinearEvaluation(n_values=3, C_min=0.1, C_max=10.0, tolerance=1e-6)
    view = View(train, val, test, (one.z, two.z))
    found, alone = (answer(linear.verdict([each], "top-1")) for each in (view, View(train, val, test)))
    both = train + val
    fitted = LogisticRegression(C=found.C, tol=1e-10, max_iter=10_000).fit(both.z.double().numpy(), both.y.numpy())
    for samples, logits in zip((test, one, two), (found.logits, *found.others), strict=True):
        p = fitted.predict_proba(samples.z.double().numpy())
        np.testing.assert_allclose(logits.softmax(1).numpy(), p, atol=1e-5)
    assert torch.equal(found.logits, alone.logits)


def test_trials_of_a_grid_do_not_look_at_them(source, split, exact, other_folders, tmp_path, monkeypatch):
    source = of_backbone(source, small_backbone(1))
    others = list(others_of(source, other_folders))
    looked_at = []
    head_scores = Learner.head_scores
    monkeypatch.setattr(
        Learner, "head_scores", lambda self, rows, of: looked_at.append(of) or head_scores(self, rows, of)
    )
    evaluation = TunedEvaluation(FineTuning(**BATCHES), source, split, 3, others)
    search = Search(Grid([[{"lr_body": 0.01}, {"lr_body": 0.1}]], 3.0), evaluation, "ft")
    found = answer(search.run(Checkpoint(tmp_path / "kept", "key"), "top-1"))
    assert [of is source for of in looked_at] == [True, True, True, False, False]
    assert [len(logits) for logits in found.others] == [3, 4]


def test_the_worst_group_is_the_one_that_is_least_right():
    groups = ["a"] * 40 + ["b"] * 20 + ["c"] * 20 + ["tiny"] * (LEAST_IN_GROUP - 1)
    labels = [1] * len(groups)
    predicted = [1] * 30 + [0] * 10 + [1] * 10 + [0] * 10 + [1] * 10 + [-1] * 10 + [0] * (LEAST_IN_GROUP - 1)
    assert worst_group(predicted, labels, groups) == {"group": "b", "accuracy": 0.5, "n_images": 20}
    assert worst_group(predicted[:40], labels[:40], groups[:40]) == {"group": "a", "accuracy": 0.75, "n_images": 40}
    assert worst_group(predicted[-5:], labels[-5:], groups[-5:]) is None
    assert worst_group(predicted, labels, None) is None
