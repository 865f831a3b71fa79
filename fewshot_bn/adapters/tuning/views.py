"""Views of images, on the device and for many episodes at once: random ones to train on, fixed ones to classify by.

Random, from each episode's seed. `flip`: left and right exchanged with probability ½. `crop`: a rectangle of 8 to 100 %
of the area and an aspect ratio of 3/4 to 4/3, resized to the whole image. `colour`: brightness, contrast and
saturation, each times 0.6 to 1.4.

Fixed. `flip`: left and right exchanged. `centre`: the middle 7/8 of the height and the width, enlarged to the whole.

Shapes: normalised images x [e b 3 h w]; their channels are x = (pixel - mean) / std with pixels 0..1.
Source: the training-time augmentation of Guo et al. 2020 (CD-FSL), arXiv:1912.07200; Szegedy et al. 2015,
arXiv:1409.4842, section 6 (crop); Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural
networks", section 4.1 (averaging class probabilities over fixed views).
"""

import math
from collections.abc import Callable, Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn import rng
from fewshot_bn.errors import UsageError, unknown
from fewshot_bn.preprocessing import Preprocessing
from fewshot_bn.runtime import in_layout

CENTRE = 7 / 8
N_DRAWS = 8  # uniform numbers per image and view: 1 for flip, 4 for crop, 3 for colour
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def parse_views(text: str, known: Collection[str]) -> tuple[str, ...]:
    """`none`, or some of the known views with commas between them."""
    names = () if text == "none" else tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in known:
            raise UsageError(f"{unknown('view', name, known)}, with commas between them, or none alone")
    if len(set(names)) < len(names):
        raise UsageError(f"the views are {text!r}; name each once")
    return names


def augment(
    x: Float[Tensor, "e b 3 h w"],
    views: Sequence[str],
    *,
    seeds: Sequence[int],
    step: int,
    preprocessing: Preprocessing,
) -> Float[Tensor, "e b 3 h w"]:
    """Random views of the images of training step `step`."""
    draws = [torch.rand(x.shape[1], N_DRAWS, generator=rng.torch_generator(s, "views", step)) for s in seeds]
    u = torch.stack(draws).flatten(0, 1).to(x)
    flat = x.flatten(0, 1)
    for name in views:
        flat = RANDOM_VIEWS[name](flat, u, preprocessing)
    return flat.reshape(x.shape)


def _flip(x: Float[Tensor, "b 3 h w"], u: Float[Tensor, "b draws"], _: Preprocessing) -> Float[Tensor, "b 3 h w"]:
    return torch.where(u[:, :1, None, None] < 0.5, x.flip(-1), x)


def _crop(x: Float[Tensor, "b 3 h w"], u: Float[Tensor, "b draws"], _: Preprocessing) -> Float[Tensor, "b 3 h w"]:
    area, log_ratio = 0.08 + 0.92 * u[:, 1], (2 * u[:, 2] - 1) * math.log(4 / 3)
    width, height = (area * log_ratio.exp()).sqrt().clamp_max(1), (area / log_ratio.exp()).sqrt().clamp_max(1)
    left, top = (2 * u[:, 3] - 1) * (1 - width), (2 * u[:, 4] - 1) * (1 - height)
    nothing = torch.zeros_like(width)
    theta = torch.stack([width, nothing, left, nothing, height, top], 1).reshape(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    cropped = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return in_layout(cropped)


def _colour(
    x: Float[Tensor, "b 3 h w"], u: Float[Tensor, "b draws"], preprocessing: Preprocessing
) -> Float[Tensor, "b 3 h w"]:
    mean, std = (x.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    grey = x.new_tensor(GREY)[:, None, None]
    brightness, contrast, saturation = (0.6 + 0.8 * u[:, k, None, None, None] for k in (5, 6, 7))
    pixels = ((x * std + mean) * brightness).clamp(0, 1)
    level = (pixels * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = (level + (pixels - level) * contrast).clamp(0, 1)
    level = (pixels * grey).sum(1, keepdim=True)
    pixels = (level + (pixels - level) * saturation).clamp(0, 1)
    return (pixels - mean) / std


def _mirrored(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return x.flip(-1)


def _centre(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    height, width = (max(1, round(CENTRE * side)) for side in x.shape[-2:])
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    middle = x[..., top : top + height, left : left + width]
    return F.interpolate(middle, x.shape[-2:], mode="bilinear", align_corners=False)


RANDOM_VIEWS: dict[str, Callable[[Tensor, Tensor, Preprocessing], Tensor]] = {
    "flip": _flip,
    "crop": _crop,
    "colour": _colour,
}
FIXED_VIEWS: dict[str, Callable[[Tensor], Tensor]] = {"flip": _mirrored, "centre": _centre}


def fixed_views(text: str) -> tuple[str, ...]:
    """The views that classify where `text` is the setting: the images themselves, then those it names."""
    return "none", *parse_views(text, FIXED_VIEWS)


def fixed_view(x: Float[Tensor, "e b 3 h w"], name: str) -> Float[Tensor, "e b 3 h w"]:
    """Every image as that view shows it; "none" gives the images themselves."""
    if name == "none":
        return x
    return in_layout(FIXED_VIEWS[name](x.flatten(0, 1))).reshape(x.shape)
