"""CLIP's ResNet, against attention that is written out, and against timm's."""

import numpy as np
import pytest
import torch
from torch import nn

from fewshot_bn.backbones.networks.clip_resnet import AttentionPool, ClipResNet


def attention_written_out(pool, maps, heads):
    """One image, one head, one place at a time, in float64."""
    weights = {key: value.numpy().astype(np.float64) for key, value in pool.state_dict().items()}
    pooled = []
    for x in maps.numpy().astype(np.float64):
        places = [x[:, i, j] for i in range(x.shape[1]) for j in range(x.shape[2])]
        tokens = [sum(places) / len(places), *places]
        tokens = [token + position for token, position in zip(tokens, weights["positional_embedding"], strict=True)]

        def project(token, name):
            return weights[f"{name}_proj.weight"] @ token + weights[f"{name}_proj.bias"]

        answer = []
        for head in range(heads):
            part = slice(64 * head, 64 * (head + 1))
            question = project(tokens[0], "q")[part]
            scores = [question @ project(token, "k")[part] / 8 for token in tokens]
            shares = np.exp(np.array(scores) - max(scores))
            shares /= shares.sum()
            answer.append(sum(s * project(token, "v")[part] for s, token in zip(shares, tokens, strict=True)))
        pooled.append(project(np.concatenate(answer), "c"))
    return torch.from_numpy(np.stack(pooled))


def test_attention_pooling_is_what_is_written_out():
    generator = torch.Generator().manual_seed(0)
    pool = AttentionPool(3, 128, 10)
    for parameter in pool.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    x = torch.randn(2, 128, 3, 3, generator=generator)
    expected = attention_written_out(pool, x, heads=2)
    with torch.no_grad():
        torch.testing.assert_close(pool.double()(x.double()), expected, rtol=1e-10, atol=1e-10)


def random_tower(n_features):
    network = ClipResNet(n_features=n_features).eval()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network


@pytest.mark.full
@pytest.mark.parametrize("n_features", [1024, 0])
def test_equals_timm(n_features):
    timm = pytest.importorskip("timm")
    from timm.models.byobnet import checkpoint_filter_fn

    network = random_tower(n_features)
    name, n_classes = ("resnet50_clip", 1024) if n_features else ("resnet50_clip_gap", 0)
    other = timm.create_model(name, pretrained=False, num_classes=n_classes).eval()
    state = {f"visual.{key}": value for key, value in network.state_dict().items()}
    other.load_state_dict(checkpoint_filter_fn(state, other), strict=True)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        z, expected = network(x), other(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
