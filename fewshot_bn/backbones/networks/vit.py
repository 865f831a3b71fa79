"""The Vision Transformer, as DINO and timm name its parameters."""

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from fewshot_bn.backbones.networks.positions import positions_for

fx.wrap("positions_for")  # one call in a traced graph, because it decides on sizes

MOST_DEPTH = 64
EPS = 1e-6  # of LayerNorm, where torch has 1e-5


class Patches(nn.Module):
    """The image in squares, each as a token."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, patch_px)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        z: Tensor = self.proj(x)
        return z.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Every token looks at every other: softmax(q kᵀ / √d) v in each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        z: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return z


class Mlp(nn.Module):
    """Two linear layers, the first of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        z: Tensor = self.fc2(self.act(self.fc1(x)))
        return z


class VitBlock(nn.Module):
    """Attention and perceptron, each after a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = x + self.attn(self.norm1(x))
        z: Tensor = x + self.mlp(self.norm2(x))
        return z


class VisionTransformer(nn.Module):
    """Features are the class token after the last LayerNorm; images of other sizes than `image_px` are taken too.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; small as in Touvron et al. 2021, arXiv:2012.12877.
    """

    def __init__(
        self, depth: int = 12, width: int = 384, heads: int = 6, *, patch_px: int = 16, image_px: int = 224
    ) -> None:
        super().__init__()
        if not 1 <= depth <= MOST_DEPTH:
            raise ValueError(f"a Vision Transformer has depth 1 to {MOST_DEPTH} here, not {depth}")
        if min(width, heads, patch_px) < 1 or width % heads or image_px < patch_px:
            raise ValueError(
                f"width {width} must be a multiple of heads {heads}, image_px {image_px} at least patch_px {patch_px}"
            )
        self.patch_px = patch_px
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_px // patch_px) ** 2 + 1, width))
        self.patch_embed = Patches(patch_px, width)
        self.blocks = nn.Sequential(*(VitBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPS)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        positions = positions_for(self.pos_embed, x.shape[2] // self.patch_px, x.shape[3] // self.patch_px)
        z = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.patch_embed(x)), dim=1)
        z = self.norm(self.blocks(z + positions))
        features: Tensor = z[:, 0]
        return features
