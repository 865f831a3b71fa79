from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from reference.networks import small_backbone
from reference.problems import adapter_with

from fewshot_bn.adapters import Fit, make_adapter
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.errors import DataError, DeviceError, UsageError
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images, normalise
from fewshot_bn.inputs.source import Source
from fewshot_bn.preprocessing import Preprocessing

CPU = torch.device("cpu")
QUICK = {"bn": {"epochs": 2, "readout": "ridge"}}


@pytest.mark.parametrize("mode", ["proto", "lr", "bn"])
def test_correct_counts_equal_a_loop_over_episodes(source, episodes, mode):
    adapter = make_adapter(mode, **QUICK.get(mode, {}))
    outcomes = list(evaluate(adapter, source, episodes, chunk=3))
    assert [len(outcome.correct) for outcome in outcomes] == [3, 3, 1]
    found = np.concatenate([outcome.correct for outcome in outcomes])
    for e in range(7):
        x_s, x_q = (
            normalise(source.images.gather(rows[e].ravel()), source.images.preprocessing, CPU)[None]
            for rows in (episodes.support, episodes.query)
        )
        y_s, y_q = torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.tensor([0] * 4 + [1] * 4 + [2] * 4)
        if adapter.takes == "features":
            fit = adapter(source.backbone.features(x_s[0])[None], y_s, source.backbone.features(x_q[0])[None])
        else:
            fit = adapter(source.backbone, x_s, y_s, x_q)
        assert int((fit.logits[0].argmax(-1) == y_q).sum()) == found[e]
    assert found.mean() > 12 / 3  # the colours can be told apart


@pytest.mark.parametrize("mode", ["proto", "lr", "bn"])
def test_the_chunk_does_not_change_the_answer(source, episodes, mode):
    adapter = make_adapter(mode, **QUICK.get(mode, {}))
    answers = [
        np.concatenate([outcome.correct for outcome in evaluate(adapter, source, episodes, chunk=chunk)])
        for chunk in (1, 2, 7, None)
    ]
    assert all((answer == answers[0]).all() for answer in answers)


def test_an_episode_that_is_not_finite_counts_as_wrong_and_is_reported(source, episodes):
    @dataclass(frozen=True)
    class Diverges:
        takes: ClassVar[str] = "features"
        transductive: ClassVar[bool] = False

        def __call__(self, z_s, y_s, z_q):
            logits = torch.nn.functional.one_hot(torch.arange(12) // 4).double().expand(len(z_s), -1, -1).clone()
            logits[1, 5, 2] = float("nan")
            said = torch.full((7,), torch.nan)
            return Fit(logits, torch.full((7,), 3), torch.ones(7, dtype=torch.bool), {"said": said})

    (outcome,) = evaluate(Diverges(), source, episodes)
    assert outcome.correct == (12, 0, 12, 12, 12, 12, 12)
    assert outcome.converged == (True, False, True, True, True, True, True)
    assert outcome.steps == (3,) * 7
    assert outcome.measures["said"] == (None,) * 7  # JSON has no NaN
    assert outcome.measures["nll"][1] == pytest.approx(np.log(3), rel=1e-5)
    assert outcome.measures["auc"] == (1, 0.5, 1, 1, 1, 1, 1)
    assert outcome.measures["f1"] == outcome.measures["mean-per-class"] == (1, 0, 1, 1, 1, 1, 1)
    assert sum(outcome.measures["gaps"][1]) == pytest.approx(4 - 12 / 3, abs=1e-5)


@pytest.mark.parametrize("name", ["auc", "nll", "predicted"])
def test_what_an_adapter_says_has_not_the_name_of_a_metric(source, episodes, name):
    @dataclass(frozen=True)
    class Says:
        takes: ClassVar[str] = "features"
        transductive: ClassVar[bool] = False

        def __call__(self, z_s, y_s, z_q):
            steps = torch.zeros(len(z_s), dtype=torch.int64)
            return Fit(torch.zeros(len(z_s), 12, 3), steps, steps == 0, {name: steps.double()})

    with pytest.raises(UsageError, match=f"the adapter calls a measure '{name}', as a metric is called"):
        list(evaluate(Says(), source, episodes))


def test_what_an_adapter_says_of_an_episode_is_kept(source, episodes):
    outcome, *_ = evaluate(adapter_with("lr-c1", {"C": "0.3"}), source, episodes)
    assert outcome.measures["C"] == (0.3,) * 7
    assert all(0 <= value < 1e-2 for value in outcome.measures["gradient_norm"])


@dataclass(frozen=True)
class NeedsRoom:
    """Runs out of memory with more than `room` episodes at once."""

    takes: ClassVar[str] = "features"
    transductive: ClassVar[bool] = False
    room: int = 2
    message: str = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."

    def __call__(self, z_s, y_s, z_q):
        if len(z_s) > self.room:
            raise RuntimeError(self.message)
        return make_adapter("proto")(z_s, y_s, z_q)


def test_where_memory_runs_out_the_chunk_is_halved_and_the_answer_stays(source, episodes, caplog):
    outcomes = list(evaluate(NeedsRoom(), source, episodes, chunk=7))
    assert [len(outcome.correct) for outcome in outcomes] == [1] * 7  # 7, 3, 1
    assert "cpu: out of memory with 7 episodes at once; going on with half" in caplog.text
    expected = [n for outcome in evaluate(make_adapter("proto"), source, episodes) for n in outcome.correct]
    assert [outcome.correct[0] for outcome in outcomes] == expected


def test_where_a_single_episode_is_too_large_its_images_are_halved(source, episodes, caplog, monkeypatch):
    bn = make_adapter("bn", **QUICK["bn"])
    expected = [n for outcome in evaluate(bn, source, episodes) for n in outcome.correct]
    sizes, kept = [], EpisodicNetwork.features

    def features(self, stem, statistics="running"):
        sizes.append(stem[0].shape[:2].numel())
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError
        return kept(self, stem, statistics)

    monkeypatch.setattr(EpisodicNetwork, "kept_bytes", lambda *_: 1000)
    monkeypatch.setattr(EpisodicNetwork, "features", features)
    assert [n for outcome in evaluate(bn, source, episodes) for n in outcome.correct] == expected
    assert [line.split(": ")[-1] for line in caplog.text.splitlines()] == [
        f"out of memory with {what} at once; going on with half"
        for what in ("7 episodes", "3 episodes", "6 images", "3 images")
    ]


def test_a_single_episode_that_does_not_fit_is_an_error(source, episodes):
    with pytest.raises(DeviceError, match="cpu: out of memory with a single episode; take smaller images"):
        list(evaluate(NeedsRoom(room=0), source, episodes))


def test_host_memory_that_runs_out_halves_the_chunk_too(source, episodes, monkeypatch, caplog):
    gather = Images.gather

    def full(self, rows, device):
        if len(rows) > 20:
            raise MemoryError
        return gather(self, rows, device)

    bn = make_adapter("bn", **QUICK["bn"])
    expected = [n for outcome in evaluate(bn, source, episodes) for n in outcome.correct]
    monkeypatch.setattr(Images, "gather", full)
    assert [n for outcome in evaluate(bn, source, episodes) for n in outcome.correct] == expected
    assert "going on with half" in caplog.text


def test_other_failures_are_not_taken_for_lack_of_memory(source, episodes):
    with pytest.raises(RuntimeError, match="something else"):
        list(evaluate(NeedsRoom(room=0, message="something else"), source, episodes))


def test_features_that_nobody_has_computed_are_computed(source, episodes):
    adapter = make_adapter("lr")
    expected = [n for outcome in evaluate(adapter, source, episodes) for n in outcome.correct]
    fresh = replace(source, features=Features(source.images, source.backbone, device=CPU))
    assert [n for outcome in evaluate(adapter, fresh, episodes[:2]) for n in outcome.correct] == expected[:2]
    assert [n for outcome in evaluate(adapter, fresh, episodes) for n in outcome.correct] == expected


def numbers_of(adapter, source, episodes):
    return [outcome.correct for outcome in evaluate(adapter, source, episodes)]


@pytest.fixture
def two_sources(image_folder):
    """Of the same images, twice."""
    dataset, backbone = open_dataset(str(image_folder)), small_backbone()
    found = []
    for _ in range(2):
        images = Images(dataset, backbone.preprocessing)
        found.append(Source(images, backbone, Features(images, backbone, device=CPU), CPU))
    return found


def test_a_source_is_of_one_set_of_images_and_one_backbone(two_sources, tmp_path):
    one, other = two_sources
    with pytest.raises(UsageError, match="the features of a source are of other images than its own"):
        replace(one, features=other.features)
    with pytest.raises(UsageError, match="features of a source are those of backbone small, not of its own, small"):
        replace(one, backbone=replace(one.backbone, fingerprint="another"))
    with pytest.raises(UsageError, match="are not prepared as its backbone's preprocessing says"):
        replace(one, backbone=replace(one.backbone, preprocessing=Preprocessing(9, 9)))


def test_episodes_that_are_not_of_the_dataset_are_refused(two_sources):
    source, adapter = two_sources[0], make_adapter("proto")
    episodes = sample(source.images.dataset.class_sizes, EpisodeShape(3, 2, 3), seed=0, n_episodes=2)
    assert numbers_of(adapter, source, episodes)
    with pytest.raises(UsageError, match="episode 0: its images are not of its classes; is it of another dataset"):
        numbers_of(adapter, source, replace(episodes, classes=episodes.classes[:, [1, 0, 2]]))
    query = episodes.query.copy()
    query[1, 2, 0] = episodes.support[1, 2, 1]
    with pytest.raises(UsageError, match="episode 1: an image occurs twice"):
        numbers_of(adapter, source, replace(episodes, query=query))
    with pytest.raises(DataError, match="there is no row -1"):
        numbers_of(adapter, source, replace(episodes, query=np.full_like(episodes.query, -1)))


@pytest.mark.parametrize("rows", [np.zeros(29, bool), np.array([0.5])], ids=["bool", "float"])
def test_rows_are_whole_numbers(two_sources, rows):
    with pytest.raises(DataError, match=f"rows are of type {rows.dtype}; whole numbers are needed"):
        two_sources[0].images.dataset.check_rows(rows)


def test_rows_are_an_array(two_sources):
    with pytest.raises(DataError, match="rows are a list; an array of numpy is needed"):
        two_sources[0].images.dataset.check_rows([0, 1])
