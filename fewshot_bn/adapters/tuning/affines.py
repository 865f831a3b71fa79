"""The scales and shifts of the norm layers, as functions of the values that are trained.

In absolute units they are the trained values themselves. In relative units

    γ = γ₀ + |γ₀| a / √P,   β = β₀ + |γ₀| b / √P,

with γ₀, β₀ from before the training, a and b trained from zero, and P the number of trained values of one episode. |γ₀|
is the standard deviation of what a channel of a norm layer puts out, so it is the unit of both; and a step that changes
every value by ρ has the length ρ whatever the number of channels. So one learning rate suits small and large networks
(that of Adam is the length of its first step), and weight decay pulls towards the pretrained network.

The scales of all layers are one tensor and the shifts another, so that an optimiser has two parameters and not two per
layer.

Shapes: gamma, beta [e a], a being the channels of all tuned layers, but none in beta for a kind of layers that has no
shift.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from fewshot_bn.adapters.tuning.network import EpisodicNetwork

Which = Literal["both", "scale", "shift"]
Units = Literal["absolute", "relative"]


class Affines:
    """Those of the norm layers of `network`, starting as they are there; `values` are to be trained."""

    def __init__(self, network: EpisodicNetwork, which: Which, units: Units) -> None:
        self._layers, self._units = network.norms, units
        self._sizes = [(layer.gamma[0].numel(), layer.beta[0].numel()) for layer in self._layers]
        self._shapes = [(layer.gamma.shape, layer.beta.shape) for layer in self._layers]
        with torch.no_grad():
            self._gamma = self.gamma = torch.cat([layer.gamma.flatten(1) for layer in self._layers], 1)
            self._beta = self.beta = torch.cat([layer.beta.flatten(1) for layer in self._layers], 1)
        starts = (self.gamma, self.beta)
        if units == "relative":
            starts = (torch.zeros_like(self.gamma), torch.zeros_like(self.beta))
        self._scale, self._shift = (start.clone() for start in starts)
        chosen = {"both": [self._scale, self._shift], "scale": [self._scale], "shift": [self._shift]}[which]
        self.values: list[Tensor] = [value for value in chosen if value.numel()]
        self._unit = self.gamma.abs() / math.sqrt(sum(value.shape[1] for value in self.values))
        for value in self.values:
            value.requires_grad_()

    def apply(self) -> None:
        """Give the layers the scales and shifts that belong to the present values."""
        relative = self._units == "relative"
        self.gamma = self._gamma + self._unit * self._scale if relative else self._scale
        unit = self._unit[:, : self._shift.shape[1]]  # either all layers have a shift, or none has
        self.beta = self._beta + unit * self._shift if relative else self._shift
        scales, shifts = zip(*self._sizes, strict=True)
        parts = zip(self._layers, self._shapes, self.gamma.split(scales, 1), self.beta.split(shifts, 1), strict=True)
        for layer, (scale, shift), gamma, beta in parts:
            layer.gamma, layer.beta = gamma.reshape(scale), beta.reshape(shift)
