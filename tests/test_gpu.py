"""The same code on CUDA gives the same answers. Run with: pytest -m gpu"""

import pytest
import torch
from conftest import small_backbone
from test_adapters import problem
from test_eval import answers, here, run  # noqa: F401 - `here` is a fixture

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.backbones import load_backbone

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def on_cuda(arguments):
    def move(argument):
        if isinstance(argument, torch.Tensor):
            return argument.cuda()
        backbone = small_backbone()
        backbone.module.cuda()
        return backbone

    return [move(argument) for argument in arguments]


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_gives_the_same_answer(name):
    arguments = problem(name)
    expected = make_adapter(name)(*arguments)
    found = make_adapter(name)(*on_cuda(arguments))
    assert found.logits.is_cuda
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.converged.cpu(), expected.converged)
    again = make_adapter(name)(*on_cuda(arguments))
    assert torch.equal(found.logits, again.logits)


def test_features_are_those_of_the_cpu_in_full_float32():
    x = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    backbones = [load_backbone("resnet18", weights="random", device=device) for device in ("cpu", "cuda")]
    expected, found = backbones[0].features(x), backbones[1].features(x.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_whole_command(here):  # noqa: F811
    for device in ("cpu", "cuda"):
        assert run("--mode", "proto", "bn", "--device", device, "--output", device) == 0
    on_cpu, on_gpu = answers(here / "cpu"), answers(here / "cuda")
    for key, (correct, _, _, episodes) in on_cpu.items():
        assert on_gpu[key][3] == episodes
        assert sum(abs(a - b) for a, b in zip(correct, on_gpu[key][0], strict=True)) <= 1  # a tie, of 72 queries
