"""Parameters as multiples of the size of each filter, counted from where they were before the training.

    w = w₀ + s v / √P

with v trained from zero, P the number of trained values, and s the size of what is trained: of a weight the root mean
square of each filter (a row of a linear layer), of a norm layer |γ₀| for scale and shift, of another bias its own root
mean square, or 1 where that is 0. A filter before a BatchNorm layer has any size without a change of the function, and
pretrained networks have some that are many times smaller than others: a rate that suits the large ones would tear those
apart. Weight decay pulls towards the pretrained network.

A filter of zeros stays as it is, as a channel of a norm layer with a scale of 0 does.

Source: rates by the size of filters: Brock et al. 2021, arXiv:2102.06171 (eq. 3, gradients clipped by it); by that of
tensors: You et al. 2017, arXiv:1708.03888 (LARS). affines.py has the same for norm layers alone.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewshot_bn.adapters.tuning.network import EpisodicNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Multiple:
    """A parameter of a network that follows `value`, which is trained in its place."""

    parameter: nn.Parameter
    start: Tensor
    unit: Tensor
    value: Tensor

    def apply(self) -> None:
        """Let the parameter have the present value."""
        with torch.no_grad():
            torch.addcmul(self.start, self.unit, self.value, out=self.parameter)


def multiples(network: EpisodicNetwork) -> list[Multiple]:
    """The parameters that `network` owns, as multiples from zero on."""
    n_values = sum(parameter.numel() for parameter in network.own.values())
    found = []
    for name, parameter in network.own.items():
        start = network.pretrained[name]
        if not torch.equal(start, parameter):
            start = parameter.detach().clone()
        unit = _size(network, name, start) / math.sqrt(n_values)
        value = torch.zeros_like(start).requires_grad_()
        parameter.register_post_accumulate_grad_hook(functools.partial(_hand_on, unit, value))
        found.append(Multiple(parameter, start, unit, value))
    return found


def _hand_on(unit: Tensor, value: Tensor, parameter: Tensor) -> None:
    """The gradient of the parameter becomes one of the value."""
    gradient, parameter.grad = parameter.grad, None
    if gradient is not None:
        gradient.mul_(unit)
        value.grad = gradient if value.grad is None else value.grad.add_(gradient)


def _size(network: EpisodicNetwork, name: str, value: Tensor) -> Tensor:
    """Of a parameter of the network, which broadcasts with it."""
    place, _, attribute = name.rpartition(".")
    if value.ndim > 1:
        size = value.square().mean(tuple(range(1, value.ndim)), keepdim=True).sqrt()
    elif attribute == "weight":
        size = value.abs()
    elif attribute == "bias" and (scale := network.scale_of(place)) is not None:
        size = scale.abs()
    else:
        size = value.square().mean().sqrt()
    return torch.where((size > 0).any(), size, 1)
