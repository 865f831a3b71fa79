"""A frozen network that maps normalised images to features, with the preprocessing it was trained with."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from fewshot_bn.backbones.fused_norms import open_norms
from fewshot_bn.backbones.graph import trace
from fewshot_bn.errors import ModelError, is_out_of_memory
from fewshot_bn.files.atomic import digest
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.runtime import exact_convolutions, move, plain_torch

RANDOM = "random"  # as the name of weights
FIXED = (
    "; its embeddings of positions are for one size; a card can build it for others, with arguments = "
    "{ dynamic_img_size = true } for timm, { image_size = … } for torchvision"
)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network in eval mode without gradients that gives `dim` features per image.

    `weights` says which weights; `fingerprint` stands for the architecture and every weight and buffer; `card`
    is the SHA-256 of the card's file, where there is one; `graph` is the traced forward pass, where that is possible;
    `members` are the backbones that it holds side by side, if it is a concatenation.
    """

    name: str
    weights: str
    module: nn.Module
    dim: int
    preprocessing: Preprocessing
    fingerprint: str
    card: str = ""
    graph: fx.Graph | None = None
    notices: tuple[str, ...] = ()
    members: tuple["Backbone", ...] = ()

    @plain_torch()
    @torch.no_grad()
    def features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with exact_convolutions():
            z: Tensor = self.module(x)
        return z


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its weights, before it is frozen, and what there is to say of it."""

    network: nn.Module
    name: str
    weights: str
    preprocessing: Preprocessing
    architecture: str
    card: str = ""
    notices: tuple[str, ...] = ()
    features: int = 0


@plain_torch()
def freeze_in_place(
    network: nn.Module,
    name: str,
    weights: str,
    preprocessing: Preprocessing,
    *,
    architecture: str,
    card: str = "",
    notices: tuple[str, ...] = (),
) -> Backbone:
    """`network` as a backbone: frozen, in eval mode, its feature size and fingerprint taken.

    `weights` is a name for its weights. `architecture` tells networks apart that have the same weights, such as other
    strides. Raises `ModelError` where the network does not give one feature vector per image.
    """
    open_norms(network)
    move(network.eval().requires_grad_(requires_grad=False), "cpu")
    dim = _count_features(network, name, preprocessing.crop_px)
    state = [
        part
        for key, value in network.state_dict().items()
        for part in (key, value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())
    ]
    fingerprint = digest([architecture, *state])
    return Backbone(
        name, Path(weights).name, network, dim, preprocessing, fingerprint, card, graph=trace(network), notices=notices
    )


@plain_torch()
def with_preprocessing(backbone: Backbone, preprocessing: Preprocessing) -> Backbone:
    """The same network for images of another geometry. Raises `ModelError` where it does not take them."""
    dim = _count_features(backbone.module, backbone.name, preprocessing.crop_px)
    return replace(backbone, preprocessing=preprocessing, dim=dim)


def _count_features(network: nn.Module, name: str, side_px: int) -> int:
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        with torch.no_grad():
            z = network(torch.zeros(2, 3, side_px, side_px, device=device))
    except (RuntimeError, AssertionError, MemoryError) as problem:
        if is_out_of_memory(problem):
            raise ModelError(f"{name}: images of {side_px} px do not fit in memory; take smaller ones") from problem
        hint = FIXED if any("pos_embed" in key for key, _ in network.named_parameters()) else ""
        raise ModelError(f"{name}: does not take images of {side_px} px: {problem}{hint}") from problem
    if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] == 0:
        found = f"values of shape {list(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise ModelError(
            f"{name}: gives no feature vector per image of {side_px} px, but {found} for two images, so it cannot "
            "serve as a backbone; let it return features [b d], as nn.Flatten after pooling gives them"
        )
    return z.shape[1]
