"""Symptoms of a wrong normalisation: what BatchNorm layers see of some images, against what they saw in training.

Images alone cannot tell a wrong card from unusual images, but BatchNorm layers remember what they were trained with.
The first of them is compared with it: `shift` is the distance of its input's mean from the running mean, in standard
deviations, and `spread` the logarithm of how much larger its standard deviation is; both of all channels together, as
grey images give nothing to those that see colours. Images of a domain may be brighter or of less contrast than most,
which is no fault: what their pixels explain does not count, nor does what they would explain but the layer does not
see. `deep_shift` and `deep_spread` are the medians over all layers.

Units: pixels 0..1. Bounds were chosen on the development sets with right and wrong normalisations:
`python -m benchmarks.studies.input_check`; docs/backbones.md has the table.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float64, Num, UInt8
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PLACES = 32  # of a map are looked at, at least, or all: enough, and it costs hardly any time
USUAL_MEAN, USUAL_STD = 0.45, 0.25  # of the pixels of photographs
MOST_SHIFT, MOST_SPREAD = 1.4, 0.55  # of the first layer, beyond what the pixels explain
MOST_SEEN_SHIFT, MOST_SEEN_SPREAD = 3.0, 1.2  # of the first layer, whatever the pixels explain
MOST_DEEP_SHIFT, MOST_DEEP_SPREAD = 1.5, 1.2


@dataclass(slots=True)
class Moments:
    """Means and variances of channels, over batches, of some places of every map."""

    n: int = 0
    total: Float64[Tensor, "c"] | float = 0.0
    squares: Float64[Tensor, "c"] | float = 0.0

    def add(self, values: Num[Tensor, "b c *size"]) -> None:
        rows = values.movedim(1, -1).flatten(0, -2)[:: _step(values.shape)].float()  # of channels-last, only these
        self.n += len(rows)
        self.total = self.total + rows.sum(0).double().cpu()
        self.squares = self.squares + rows.square().sum(0).double().cpu()  # much faster than torch.var_mean

    def mean_and_var(self) -> tuple[Float64[Tensor, "c"], Float64[Tensor, "c"]]:
        mean = torch.as_tensor(self.total) / self.n
        return mean, (torch.as_tensor(self.squares) / self.n - mean.square()).clamp_min(0)


def _step(shape: torch.Size) -> int:
    """From one place that is looked at to the next, row by row; each time in another column."""
    step = max(1, math.prod(shape[2:]) // PLACES)
    while math.gcd(step, shape[-1]) > 1:
        step -= 1
    return step


@dataclass(frozen=True, slots=True)
class Symptoms:
    """What was seen of `n_images`: their pixels (mean and std of each channel), and BatchNorm layers, if there are any.

    `fits` is the common normalisation under which a network with symptoms has none.
    """

    n_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: float | None = None
    spread: float | None = None
    deep_shift: float | None = None
    deep_spread: float | None = None
    fits: str = ""

    @property
    def far_shift(self) -> float:
        """The shift of the first layer that the brightness of the images does not explain."""
        brightness = (sum(self.mean) / len(self.mean) - USUAL_MEAN) / USUAL_STD
        return math.sqrt(max(0.0, (self.shift or 0.0) ** 2 - brightness**2))

    @property
    def far_spread(self) -> float:
        """The spread of the first layer, with and without what the contrast of the images explains: the nearer to 0."""
        spread = self.spread or 0.0
        contrast = math.log(max(sum(self.std) / len(self.std), 1e-3) / USUAL_STD)
        rest = spread - contrast
        return min(spread, rest, key=abs) if spread * rest > 0 else 0.0

    @property
    def distance(self) -> float:
        """How far the BatchNorm layers are from what they were trained with; above 1 is a symptom."""
        return max(
            self.far_shift / MOST_SHIFT,
            abs(self.far_spread) / MOST_SPREAD,
            (self.shift or 0.0) / MOST_SEEN_SHIFT,
            abs(self.spread or 0.0) / MOST_SEEN_SPREAD,
            (self.deep_shift or 0.0) / MOST_DEEP_SHIFT,
            abs(self.deep_spread or 0.0) / MOST_DEEP_SPREAD,
        )


@dataclass(slots=True)
class Watch:
    """The statistics of what reaches pixels and BatchNorm layers in some forward passes."""

    network: nn.Module
    n_images: int = 0
    pixels: Moments = field(default_factory=Moments)
    layers: dict[str, Moments] = field(default_factory=dict)  # in the order of execution

    @contextlib.contextmanager
    def on(self, pixels: UInt8[Tensor, "n 3 h w"]) -> Iterator[None]:
        """Within it, one batch goes through the network; `pixels` are its first images, and the rest fill it up."""
        n, here = len(pixels), threading.get_ident()

        def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
                if threading.get_ident() == here:
                    self.layers.setdefault(name, Moments()).add(inputs[0][:n])

            return look

        self.n_images += n
        self.pixels.add(pixels)
        with contextlib.ExitStack() as hooks:
            for name, layer in _trained(self.network).items():
                hooks.callback(layer.register_forward_pre_hook(note(name)).remove)
            yield

    def symptoms(self) -> Symptoms:
        mean, var = self.pixels.mean_and_var()
        seen = Symptoms(self.n_images, tuple((mean / 255).tolist()), tuple((var.sqrt() / 255).tolist()))
        if not self.layers:
            return seen
        trained = _trained(self.network)
        far = torch.tensor([_far(trained[name], moments) for name, moments in self.layers.items()])
        (shift, spread), (deep_shift, deep_spread) = far[0].tolist(), far.median(0).values.tolist()
        return replace(seen, shift=shift, spread=spread, deep_shift=deep_shift, deep_spread=deep_spread)


def is_trained(network: nn.Module) -> bool:
    """False where there are BatchNorm layers, none of which has seen an image."""
    return bool(_trained(network)) or not any(isinstance(module, _BatchNorm) for module in network.modules())


def _trained(network: nn.Module) -> Mapping[str, _BatchNorm]:
    """The BatchNorm layers whose statistics are not those that they are made with."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm)
        and layer.running_mean is not None
        and layer.running_var is not None
        and not (bool((layer.running_mean == 0).all()) and bool((layer.running_var == 1).all()))
    }


def _far(layer: _BatchNorm, moments: Moments) -> tuple[float, float]:
    """Shift and spread of a layer."""
    mean, var = moments.mean_and_var()
    assert layer.running_mean is not None and layer.running_var is not None  # noqa: S101, PT018 - see _trained
    was_mean, was_var = layer.running_mean.double().cpu(), layer.running_var.double().cpu()
    was = was_var.sum() + layer.eps
    shift = ((mean - was_mean).square().sum() / was).sqrt()
    return shift.item(), ((var.sum() + layer.eps) / was).log().item() / 2
