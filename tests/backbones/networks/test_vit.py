"""The Vision Transformer, against one that is written out in float64, and against timm's."""

import numpy as np
import pytest
import torch
from torch import nn

from fewshot_bn.backbones.networks.positions import positions_for
from fewshot_bn.backbones.networks.vit import VisionTransformer


def random_vit(**arguments):
    network = VisionTransformer(**arguments).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        scale = 0.3 if parameter.ndim > 1 else 0.1
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * scale * parameter.shape[-1] ** -0.5)
    return network


def normed(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def block(x, w, name, heads):
    """Tokens [n d] of one image, head by head."""
    width = x.shape[1] // heads
    q, k, v = np.split(linear(normed(x, w, f"{name}.norm1"), w, f"{name}.attn.qkv"), 3, axis=1)
    answers = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        shares = np.exp(q[:, part] @ k[:, part].T / width**0.5)
        answers.append(shares / shares.sum(1, keepdims=True) @ v[:, part])
    x = x + linear(np.concatenate(answers, axis=1), w, f"{name}.attn.proj")
    hidden = linear(normed(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1")
    gelu = hidden * 0.5 * (1 + torch.erf(torch.from_numpy(hidden) / 2**0.5).numpy())
    return x + linear(gelu, w, f"{name}.mlp.fc2")


def written_out(network, image, heads, patch):
    w = {key: value.numpy().astype(np.float64) for key, value in network.state_dict().items()}
    n = image.shape[1] // patch
    kernel = w["patch_embed.proj.weight"].reshape(len(w["patch_embed.proj.weight"]), -1)
    squares = [image[:, patch * i : patch * (i + 1), patch * j : patch * (j + 1)] for i in range(n) for j in range(n)]
    patches = [kernel @ square.ravel() + w["patch_embed.proj.bias"] for square in squares]
    x = np.stack([w["cls_token"][0, 0], *patches]) + w["pos_embed"][0]
    for layer in range(len(network.blocks)):
        x = block(x, w, f"blocks.{layer}", heads)
    return normed(x, w, "norm")[0]


def test_equals_what_is_written_out():
    network = random_vit(depth=2, width=12, heads=3, patch_px=4, image_px=12)
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = np.stack([written_out(network, image, heads=3, patch=4) for image in x.numpy()])
    with torch.no_grad():
        torch.testing.assert_close(network.double()(x), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


def cubic(distance):
    """The kernel of bicubic interpolation with a = -0.75, which torch has."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def interpolated(grid, n):
    """The first axis at `n` places of a grid that is (n + 0.1) / side times as fine; the border goes on outside."""
    side = len(grid)
    rows = []
    for i in range(n):
        place = (i + 0.5) * side / (n + 0.1) - 0.5
        first = int(np.floor(place))
        near = range(first - 1, first + 3)
        rows.append(sum(cubic(place - k) * grid[min(max(k, 0), side - 1)] for k in near))
    return np.stack(rows)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (9, 5), (3, 4), (1, 14)])
def test_positions_of_other_sizes_are_bicubic(height, width):
    table = torch.randn(1, 1 + 4 * 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = table[0, 1:].numpy().reshape(4, 4, 3)
    expected = interpolated(interpolated(grid, height).swapaxes(0, 1), width).swapaxes(0, 1)
    found = positions_for(table, height, width)
    assert torch.equal(found[:, 0], table[:, 0])
    torch.testing.assert_close(found[0, 1:], torch.from_numpy(expected.reshape(-1, 3)), rtol=1e-9, atol=1e-9)


def test_positions_of_the_own_size_stay_as_they_are():
    table = torch.randn(1, 17, 3, generator=torch.Generator().manual_seed(0))
    assert positions_for(table, 4, 4) is table


@pytest.mark.full
def test_equals_timm():
    timm = pytest.importorskip("timm")
    network = random_vit()
    other = timm.create_model("vit_small_patch16_224.dino", pretrained=False, num_classes=0).eval()
    other.load_state_dict(network.state_dict(), strict=True)
    assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(x), other(x), rtol=1e-4, atol=1e-4)
