"""The same code on CUDA gives the same answers. Run with: pytest -m gpu"""

import numpy as np
import pytest
import torch
from reference.commands import answers, run
from reference.many_shot import BATCHES, outcome
from reference.networks import small_backbone
from reference.problems import adapter_problem as problem
from reference.problems import adapter_with

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.tuning.weights import FineTuning
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.eval import main
from fewshot_bn.evaluation.loop import evaluate
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS
from fewshot_bn.evaluation.many_shot.tuned import TunedEvaluation
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images
from fewshot_bn.inputs.source import Source
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.results.many_shot_files import read_many_shot
from fewshot_bn.runtime import exact_convolutions, in_layout, move

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def on(device, name, dtype=torch.float64):
    """The arguments of `problem` on a device; in float64, where rounding hides no mistake."""
    arguments = []
    for argument in problem(name):
        if isinstance(argument, torch.Tensor):
            arguments.append(argument.to(device, dtype) if argument.is_floating_point() else argument.to(device))
        else:
            move(argument.module.to(dtype), device)
            arguments.append(argument)
    return arguments


def assert_same_answer(adapter, name, devices=("cpu", "cuda")):
    with exact_convolutions():
        expected, found, again = (adapter(*on(device, name)) for device in (*devices, devices[1]))
    assert found.logits.device.type == devices[1]
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-6, atol=1e-6)  # lr stops early
    assert torch.equal(found.converged.cpu(), expected.converged)
    assert torch.equal(found.logits, again.logits)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_gives_the_same_answer(name):
    shorter = {"epochs": "4"} if getattr(ADAPTERS[name], "epochs", 0) else {}
    assert_same_answer(adapter_with(name, shorter), name)


@pytest.mark.parametrize(
    "settings",
    [
        {"statistics": "batch"},
        {"statistics": "converted"},
        {"statistics": "transductive"},
        {"head": "lr"},
        {"head": "proto"},
        {"head": "normal", "optimiser": "adam", "lr_norm": "0.001"},
        {"batch_size": "4", "statistics": "batch"},
        {"augment": "flip,crop,colour"},
        {"scope": "bn3"},
        {"stop_loss": "0.5"},
        {"units": "relative", "lr_norm": "10", "scaling": "l2"},
        {"readout": "lr+ridge", "test_augment": "flip,centre"},
    ],
    ids=str,
)
def test_every_variant_gives_the_same_answer(settings):
    assert_same_answer(adapter_with("bn-plain", {"steps": "8", **settings}), "bn-plain")


@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_bfloat16_stays_close_to_float32(statistics):
    exact, rough = (
        adapter_with("bn-plain", {"steps": "8", "statistics": statistics, "precision": precision})
        for precision in ("float32", "bfloat16")
    )
    expected, found = (adapter(*on("cuda", "bn", torch.float32)).logits for adapter in (exact, rough))
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())


def test_features_are_those_of_the_cpu_in_full_float32():
    x = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    backbones = [load_backbone("resnet18", weights="random", device=device) for device in ("cpu", "cuda")]
    expected, found = backbones[0].features(x), backbones[1].features(x.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_network_on_cuda_is_cut_and_weighed():
    backbone = small_backbone()
    expected = make_adapter("bn").bytes_per_image(backbone)
    move(backbone.module, "cuda")
    assert make_adapter("bn").bytes_per_image(backbone) == pytest.approx(expected, rel=0.2)


def test_the_layout_of_float32_is_the_default_one():
    backbone = load_backbone("mobilenet_v2", weights="random", device="cuda")
    assert all(value.is_contiguous() for value in backbone.module.state_dict().values())
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert in_layout(x).stride() == x.stride()
    assert in_layout(x.cuda()).is_contiguous()


def test_pixels_stay_in_the_memory_of_a_gpu(image_folder):
    images, cuda = Images(open_dataset(str(image_folder)), Preprocessing(10, 8)), torch.device("cuda")
    rows = np.array([4, 9, 4])
    assert images.reside(rows, cuda)
    found = images.gather(rows, cuda)
    assert found.device.type == "cuda"
    assert torch.equal(found.cpu(), images.gather(rows))


def test_where_memory_runs_out_the_chunk_is_halved_and_the_answer_stays(image_folder, caplog):
    cuda = torch.device("cuda")
    backbone = load_backbone("resnet18", weights="random", device=cuda)
    images = Images(open_dataset(str(image_folder)), backbone.preprocessing)
    source = Source(images, backbone, Features(images, backbone, device=cuda), cuda)
    episodes = sample(images.dataset.class_sizes, EpisodeShape(3, 2, 4), seed=0, n_episodes=64)
    adapter = adapter_with("bn", {"steps": "2"})
    expected = [n for outcome in evaluate(adapter, source, episodes, chunk=2) for n in outcome.correct]
    assert not caplog.text
    torch.cuda.empty_cache()
    two_gib = 2**31 / torch.cuda.get_device_properties(cuda).total_memory  # 64 episodes take about 8
    torch.cuda.set_per_process_memory_fraction(two_gib)
    try:
        found = [n for outcome in evaluate(adapter, source, episodes, chunk=64) for n in outcome.correct]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory with 64 episodes at once; going on with half" in caplog.text
    assert sum(abs(a - b) for a, b in zip(expected, found, strict=True)) <= 2  # ties, of 768 queries


@pytest.mark.parametrize("mode", list(CLASSIFIERS))
def test_many_images_are_trained_on_alike(here, mode):
    """A training that is killed, too, goes on with what is kept on the GPU."""
    shorter = [] if mode == "lr" else ["--set", f"{mode}.epochs=2", f"{mode}.batch_size=8"]
    asked = ["--dataset", "shapes", "--model", "card.toml", "--regime", "many-shot", "--mode", mode, *shorter]
    found = []
    for device in ("cpu", "cuda"):
        assert main([*asked, "--device", device, "--output", device]) == 0
        (path,) = (here / device).glob(f"*_{mode}_*.json")
        found.append(read_many_shot(path).predictions)
    assert sum(a != b for a, b in zip(*found, strict=True)) <= 1  # a tie, of 6 images


def test_a_training_on_the_gpu_goes_on_from_its_checkpoint(source, split, tmp_path, kept_at_once):
    move(source.backbone.module, "cuda")
    images, cuda = source.images, torch.device("cuda")
    source = Source(images, source.backbone, Features(images, source.backbone, device=cuda), cuda)
    tuner = FineTuning(**BATCHES, optimiser="adam", stop_loss=1e-9)
    whole = outcome(tuner, source, split, Checkpoint(tmp_path / "whole", "key"))
    run = TunedEvaluation(tuner, source, split, 3).run(Checkpoint(tmp_path / "kept", "key"), "top-1")
    for _ in range(6):
        next(run)
    run.close()
    again = outcome(tuner, source, split, Checkpoint(tmp_path / "kept", "key"))
    torch.testing.assert_close(again.logits, whole.logits)


@pytest.mark.parametrize("device", ["cuda", "cuda,cuda", "all"])
def test_the_whole_command(here, device):
    for name, folder in (("cpu", "cpu"), (device, "cuda")):
        assert run("--mode", "proto", "bn", "--device", name, "--output", folder) == 0
    on_cpu, on_gpu = answers(here / "cpu"), answers(here / "cuda")
    for key, (correct, _, _, episodes) in on_cpu.items():
        assert on_gpu[key][3] == episodes
        assert sum(abs(a - b) for a, b in zip(correct, on_gpu[key][0], strict=True)) <= 1  # a tie, of 72 queries
