"""The speed benchmark on the smallest possible case: what it records, and what it counts."""

import json

import pytest
import torch
from reference.networks import small_backbone
from torch import nn

from benchmarks.timing import speed
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.evaluation import memory
from fewshot_bn.preprocessing import Preprocessing

TINY = ["--case", "fractal_resnet8@32", "--device", "cpu", "--steps", "2", "--repetitions", "1"]


class Features(nn.Sequential):
    """Layers, and then the mean over each map."""

    def forward(self, x):
        return super().forward(x).mean((2, 3))


def backbone_of(*layers, side_px=8):
    preprocessing = Preprocessing(side_px, side_px)
    return freeze_in_place(Features(*layers), "hand-made", "", preprocessing, architecture="hand-made")


@pytest.fixture
def two_at_once(monkeypatch):
    """The engine's default is two episodes at once, which keeps this quick."""
    monkeypatch.setitem(memory.MOST_EPISODES, "cpu", 2)


def test_the_record(tmp_path, capsys, two_at_once):
    folder = tmp_path / "record"
    assert speed.main([*TINY, "--chunk", "1", "--output", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "speed.jsonl").read_text().splitlines()]
    names = ["plain loop", "batches of 4", "engine, 1 at once", "engine by default, 2 at once"]
    assert [row["name"] for row in rows] == [*names, "floor, larger", "floor, sum"]
    for row in rows:
        (seconds,), found = row["s/image-step"], row["quantities"]
        assert found["ms/image-step"]["median"] == pytest.approx(1000 * seconds)
        assert found["image-steps/s"]["median"] == pytest.approx(1 / seconds)
        assert found["s/600 episodes"]["median"] == pytest.approx(600 * 25 * 2 * seconds)
        assert found["x first"]["max"] == pytest.approx(rows[0]["s/image-step"][0] / seconds)
    larger, both = (row["quantities"]["ms/image-step"]["median"] for row in rows[-2:])
    assert 0 < larger < both < 2 * larger
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "--output FOLDER" in readme
    assert str(tmp_path) not in readme
    assert f"torch {torch.__version__}" in readme
    assert capsys.readouterr().out.strip() in readme


def test_weights_cost_a_third_pass(tmp_path, two_at_once):
    folder = tmp_path / "record"
    assert speed.main([*TINY, "--tuned", "weights", "--output", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "speed.jsonl").read_text().splitlines()]
    behind, whole = speed.forward_flops(load_backbone("fractal_resnet8", weights="random"))
    assert rows[-1]["flops"] == 2 * whole + behind
    assert "Speed of fine-tuning" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_record_is_never_overwritten(tmp_path, capsys):
    assert speed.main([*TINY, "--output", str(tmp_path)]) == 2
    assert "File exists" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [["--repetitions", "0"], ["--chunk", "0"], ["--steps", "-1"], ["--case", "resnet19@64"]]
)
def test_wrong_arguments(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        speed.main([*TINY, *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_growth_changes_one_thing_at_a_time(two_at_once):
    trial = speed.Trial(small_backbone(), NormTuning(steps=0, epochs=3), torch.device("cpu"), n_query=5)
    found = {each.name.partition(",")[0]: each for each in speed.growth(trial)}
    at_once, episodes = ["1 at once", "2 at once"], ["2 episodes", "4 episodes", "8 episodes"]
    others = ["1-shot", "5-shot", "20-shot", "4 px", "8 px", "16 px", "3 steps", "6 steps", "12 steps"]
    assert list(found) == at_once + episodes + others
    assert found["20-shot"].n_support == 100
    assert found["8 episodes"].n_calls == 4
    assert found["16 px"].backbone.preprocessing.crop_px == 16
    assert found["12 steps"].settings.epochs == 12


def test_only_what_follows_the_first_norm_layer_is_counted():
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    after = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
    first, second = 2 * (3 * 9) * 4 * 8 * 8, 2 * (4 * 9) * 6 * 4 * 4
    assert speed.forward_flops(backbone_of(nn.BatchNorm2d(3), conv)) == (first, first)
    assert speed.forward_flops(backbone_of(conv, nn.BatchNorm2d(4))) == (0, first)
    assert speed.forward_flops(backbone_of(conv, nn.BatchNorm2d(4), after)) == (second, first + second)


def test_the_floor():
    layers = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
    trial = speed.Trial(backbone_of(*layers), NormTuning(steps=0, epochs=1), torch.device("cpu"), n_query=5)
    larger, both = speed.floor(trial, first=[1.0])
    assert larger["flops"] == 2 * 2 * (3 * 9) * 4 * 8 * 8
    assert larger["bytes"] == 4 * (4 * 3 * 64 + 5 * 4 * 64)
    times = larger["flops"] / larger["flops/s"], larger["bytes"] / larger["bytes/s"]
    assert larger["s/image-step"] == [max(times)]
    assert both["s/image-step"] == [pytest.approx(sum(times))]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_contenders_train(precision, monkeypatch):
    """In bfloat16, too, the plain loop ends where the engine does."""
    settings = NormTuning(steps=0, epochs=4, precision=precision)
    trial = speed.Trial(small_backbone(), settings, torch.device("cpu"), n_query=5)
    logits = []
    monkeypatch.setattr(speed, "timed", lambda call, device: logits.append(call()) or 1.0)
    for each in (trial, speed.replace(trial, plain=True)):
        speed.run(each)
    theirs, ours = logits[1], logits[0].logits
    assert (ours - theirs).abs().max() < (0.05 if precision == "bfloat16" else 1e-4) * theirs.abs().max()
