"""The checkpoint that ships with the package: what it is worth, and that its training can be repeated."""

import hashlib
import tomllib

import pytest

from benchmarks import pretrain_fractals
from fewshot_bn.backbones.cards.card import shipped_models
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.eval import main
from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.statistics import estimate, paired_difference


@pytest.mark.parametrize("n_support", [1, 5, pytest.param(20, marks=pytest.mark.full)])
def test_it_beats_its_own_random_initialisation_under_every_probe(tmp_path, n_support):
    found = {}
    for weights in ("card", "random"):
        arguments = ["--mode", "proto", "lr-c1", "lr", "--n-support", str(n_support), "--n-episodes", "100", "--quiet"]
        arguments += ["--output", str(tmp_path / weights)]
        assert main([*arguments, *(["--weights", "random"] if weights == "random" else [])]) == 0
        for path in (tmp_path / weights).glob("*.json"):
            result = read_result(path)
            found[weights, result.key["adapter"]["name"]] = result
    for probe, least in (("proto", 0.1), ("lr-c1", 0.1), ("lr", 0.05)):
        assert found["card", probe].episodes == found["random", probe].episodes
        difference = paired_difference(found["card", probe].accuracies, found["random", probe].accuracies)
        assert difference.mean - difference.half_width > least


def test_its_card_expects_what_is_found(tmp_path):
    expected = tomllib.loads(shipped_models()[DEFAULT_MODEL].read_text())["expected"]
    assert (
        main(["--mode", "proto", "--baseline", "lr-c1", "--n-episodes", "200", "--quiet", "--output", str(tmp_path)])
        == 0
    )
    for path in tmp_path.glob("*.json"):
        result = read_result(path)
        name = result.key["adapter"]["name"]
        text = expected[f"digits, 5-way 5-shot, {name}, 200 episodes, seed 0"]
        assert 100 * estimate(result.accuracies).mean == pytest.approx(float(text.split()[0]), abs=0.1)


def test_it_is_small():
    path = shipped_models()[DEFAULT_MODEL].with_suffix(".safetensors")
    assert path.stat().st_size < 1_500_000
    assert all(value.isfinite().all() for value in read_checkpoint(path).values())


def test_training_twice_with_one_seed_gives_the_same_bytes(tmp_path, capsys):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        tiny = ["--classes", "5", "--steps", "3", "--batch-size", "8", "--seed", str(seed), "--out", str(file)]
        assert pretrain_fractals.main(tiny) == 0
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] in capsys.readouterr().out
