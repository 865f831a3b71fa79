"""The scales and shifts of the norm layers, as functions of the values that are trained.

In absolute units they are the trained values themselves. In relative units

    γ = γ₀ + |γ₀| a / √P,   β = β₀ + |γ₀| b / √P,

with γ₀, β₀ from before the training, a and b trained from zero, and P the number of trained values of one episode. |γ₀|
is the standard deviation of what a channel of a norm layer puts out, so it is the unit of both; and a step that changes
every value by ρ has the length ρ whatever the number of channels. So one learning rate suits small and large networks
(that of Adam is the length of its first step), and weight decay pulls towards the pretrained network.

Shapes: gamma, beta [e a], as in episodic_network.py.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from fewshot_bn.adapters.norm_tuning.episodic_network import EpisodicNetwork

Which = Literal["both", "scale", "shift"]
Units = Literal["absolute", "relative"]


class Affines:
    """Those of `network`, starting as they are there; `values` are to be trained."""

    def __init__(self, network: EpisodicNetwork, which: Which, units: Units) -> None:
        self._network, self._units = network, units
        self._gamma, self._beta = network.gamma, network.beta
        starts = (network.gamma, network.beta)
        if units == "relative":
            starts = (torch.zeros_like(network.gamma), torch.zeros_like(network.beta))
        self._scale, self._shift = (start.clone() for start in starts)
        chosen = {"both": [self._scale, self._shift], "scale": [self._scale], "shift": [self._shift]}[which]
        self.values: list[Tensor] = [value for value in chosen if value.numel()]
        self._unit = network.gamma.abs() / math.sqrt(sum(value.shape[1] for value in self.values))
        for value in self.values:
            value.requires_grad_()

    def apply(self) -> None:
        """Give the network the scales and shifts that belong to the present values."""
        relative = self._units == "relative"
        self._network.gamma = self._gamma + self._unit * self._scale if relative else self._scale
        unit = self._unit[:, : self._shift.shape[1]]  # either all layers have a shift, or none has
        self._network.beta = self._beta + unit * self._shift if relative else self._shift
