"""The engine of the tuned adapters: one frozen network that runs many episodes at once.

Convolutions are frozen and shared, episodes differ only in the scale and shift of each BatchNorm layer. So E episodes
of n images are one ordinary batch of E*n images in which every BatchNorm layer applies a scale and shift of its own
to each episode. One episode's gradient never sees another's.

Shapes: gamma, beta [e c]; activations [e*n c ...], the images of an episode next to each other.
Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2 (inference: fixed statistics).
"""

import copy
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fewshot_bn.errors import ModelError


def norm_layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that have a scale and shift by name, in the order of the network."""
    return {
        name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm) and module.affine
    }


def check_norm_layers(network: nn.Module, where: str) -> None:
    """Raise `ModelError` where there is nothing to tune, or no statistics to tune under."""
    layers = norm_layers(network)
    if not layers:
        kinds = sorted({type(module).__name__ for module in network.modules() if "Norm" in type(module).__name__})
        found = f"its norm layers are {', '.join(kinds)}" if kinds else "it has no norm layers"
        raise ModelError(f"{where}: no BatchNorm layer with scale and shift, which --mode bn needs; {found}")
    unfit = [name for name, layer in layers.items() if layer.running_mean is None]
    if unfit:
        raise ModelError(f"{where}: the BatchNorm layer {unfit[0]} keeps no running statistics, so it has no eval mode")


class EpisodicBatchNorm(nn.Module):
    """A BatchNorm layer in eval mode with a scale and shift per episode, which start at the frozen layer's."""

    def __init__(self, frozen: _BatchNorm, n_episodes: int) -> None:
        super().__init__()
        if frozen.running_mean is None or frozen.running_var is None:
            raise ModelError("a BatchNorm layer without running statistics has no eval mode")
        self.register_buffer("mean", frozen.running_mean)
        self.register_buffer("rstd", torch.rsqrt(frozen.running_var + frozen.eps))
        self.mean: Tensor
        self.rstd: Tensor
        self.gamma = nn.Parameter(frozen.weight.detach().repeat(n_episodes, 1))
        self.beta = nn.Parameter(frozen.bias.detach().repeat(n_episodes, 1))

    def forward(self, x: Float[Tensor, "en c *size"]) -> Float[Tensor, "en c *size"]:
        scale = self.gamma * self.rstd
        y: Tensor = _ScaleShift.apply(x, scale, self.beta - self.mean * scale)
        return y


class _ScaleShift(torch.autograd.Function):
    """y = scale * x + shift, scale and shift [e c] being those of the episode that the image belongs to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        y = torch.empty_like(x)  # no view of anything, since activations may overwrite it in place
        x, out = _by_episode(x, len(scale)), _by_episode(y, len(scale))
        torch.addcmul(_like(shift, x), x, _like(scale, x), out=out)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        x, g = _by_episode(x, len(scale)), _by_episode(gradients[0], len(scale))
        within = (1, *range(3, g.ndim))  # everything but episode and channel
        g_x = (g * _like(scale, g)).flatten(0, 1) if ctx.needs_input_grad[0] else None
        return g_x, (g * x).sum(within), g.sum(within)


def _by_episode(x: Tensor, n_episodes: int) -> Tensor:
    return x.reshape(n_episodes, -1, *x.shape[1:])


def _like(per_channel: Tensor, x: Tensor) -> Tensor:
    """[e c] as [e 1 c 1 ...], to meet activations [e n c ...]."""
    return per_channel.reshape(len(per_channel), 1, -1, *(1 for _ in range(x.ndim - 3)))


def episodic_copy(network: nn.Module, n_episodes: int) -> tuple[nn.Module, list[EpisodicBatchNorm]]:
    """A copy of `network` that shares its tensors, with the BatchNorm layers made episodic; and those layers.

    The network itself is never touched, so nothing needs to be put back, whatever happens in between.
    """
    shared = {id(tensor): tensor for tensor in itertools.chain(network.parameters(), network.buffers())}
    view = copy.deepcopy(network, shared)
    episodic = {layer: EpisodicBatchNorm(layer, n_episodes) for layer in norm_layers(view).values()}
    for name, layer in list(view.named_modules(remove_duplicate=False)):
        if isinstance(layer, _BatchNorm) and layer in episodic:
            view.set_submodule(name, episodic[layer])
    return view, list(episodic.values())
