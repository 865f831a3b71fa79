"""RN50.pt as OpenAI publishes it: a TorchScript program of the whole of CLIP, convolutions in half precision."""

import warnings

import pytest
import torch
from jaxtyping import config
from torch import nn

from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks.clip_resnet import ClipResNet


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = ClipResNet()
        self.positional_embedding = nn.Parameter(torch.ones(77, 8))
        self.text_projection = nn.Parameter(torch.ones(8, 4))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.token_embedding, self.ln_final = nn.Embedding(9, 8), nn.LayerNorm(8)
        self.transformer = nn.Sequential(nn.Linear(8, 8))
        for name, n in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 9)):
            self.register_buffer(name, torch.tensor(n))

    def forward(self, x, words):
        z = self.ln_final(self.transformer(self.token_embedding(words))) @ self.text_projection * self.logit_scale
        return self.visual(x), z + self.positional_embedding.sum()


@pytest.mark.full
def test_the_published_program_of_clip_gives_its_weights(tmp_path):
    network = Clip().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and of TorchScript itself
        config.update("jaxtyping_disable", True)  # sizes are tensors while it is traced
        program = torch.jit.trace(network, (torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, dtype=torch.int64)))
        config.update("jaxtyping_disable", False)
        for parameter in program.parameters():
            if parameter.ndim > 1:
                parameter.data = parameter.data.half()
        torch.jit.save(program, tmp_path / "RN50.pt")
        expected = {key.removeprefix("visual."): value for key, value in program.state_dict().items()}
    for name, dim in (("clip-rn50", 1024), ("clip-rn50-pooled", 2048)):
        backbone = load_backbone(name, weights=str(tmp_path / "RN50.pt"))
        found = backbone.module.state_dict()
        assert backbone.dim == dim
        assert all(torch.equal(value, expected[key].to(value.dtype)) for key, value in found.items())
