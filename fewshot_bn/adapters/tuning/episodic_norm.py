"""Norm layers that treat each episode of a batch on its own: scale, shift and running statistics per episode.

E episodes of n images are one ordinary batch of E*n images for everything else in a network. Here the images of an
episode, which lie next to each other, meet the scale and shift of that episode, and under batch statistics they are
normalised among themselves. So no episode ever sees another, forward or backward.

On a CPU, BatchNorm goes through torch's own kernels, episode by episode on slices of the batch: one pass forward, one
for both sums of the backward pass, and nothing is computed for what is frozen. For a single episode that is
`nn.BatchNorm2d`. On a GPU, where starting a kernel takes as long as a slice, it is arithmetic on the whole batch. (On a
CPU that takes as long with frozen statistics, but 1.2 to 1.6 times as long with those of the batch.)

Shapes: gamma, beta, running statistics [e c]; activations [e*n c ...].
Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fewshot_bn.adapters.tuning.layers import EpisodicLayer
from fewshot_bn.backbones.fused_norms import after_norm

Statistics = Literal["running", "batch", "batch, tracked"]
AT_ONCE = {"cuda"}  # kinds of devices on which BatchNorm takes the episodes of a batch at once, not one by one


class EpisodicNorm(EpisodicLayer):
    """What all kinds share: the scale `gamma` and shift `beta` of each episode."""

    title = "norm"

    def __init__(self, frozen: nn.Module, n_episodes: int) -> None:
        super().__init__(n_episodes)
        state = frozen.state_dict()
        shift = state["bias"] if "bias" in state else state["weight"].new_empty(0)  # RMSNorm has none
        self.gamma, self.beta = (value.expand(n_episodes, *value.shape).clone() for value in (state["weight"], shift))

    @property
    def size(self) -> str:
        return f"{self.gamma[0].numel()} channels"


class EpisodicAffine(EpisodicNorm):
    """A layer that normalises each image by itself (GroupNorm, LayerNorm, RMSNorm), run on episode after episode."""

    def __init__(self, frozen: nn.Module, n_episodes: int) -> None:
        super().__init__(frozen, n_episodes)
        self.frozen = frozen

    def forward(self, x: Float[Tensor, "en *size"]) -> Float[Tensor, "en *size"]:
        self.check(x)
        if torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()  # without, torch 2.11 crashes in the backward pass of nn.GroupNorm on a CPU
        return torch.cat([self._run(part, e) for e, part in enumerate(x.chunk(self.n_episodes))])

    def _run(self, x: Tensor, e: int) -> Tensor:
        affine = {"weight": self.gamma[e]} | ({"bias": self.beta[e]} if self.beta.numel() else {})
        y: Tensor = torch.func.functional_call(self.frozen, affine, (x,))
        return y


class EpisodicBatchNorm(EpisodicNorm):
    """A BatchNorm layer with running statistics per episode.

    `statistics` says what it normalises with: the running statistics, or those of the batch; tracked, the latter also
    move the running statistics as `nn.BatchNorm2d` does in training.
    """

    def __init__(self, frozen: _BatchNorm, n_episodes: int) -> None:
        super().__init__(frozen, n_episodes)
        self.eps, self.momentum = frozen.eps, frozen.momentum
        state = frozen.state_dict()
        self.running_mean = state["running_mean"].repeat(n_episodes, 1)
        self.running_var = state["running_var"].repeat(n_episodes, 1)
        self.n_batches = int(state.get("num_batches_tracked", 0))
        self.statistics: Statistics = "running"
        self.after = after_norm(frozen)

    def forward(self, x: Float[Tensor, "en c *size"]) -> Float[Tensor, "en c *size"]:
        self.check(x)
        function = _BatchNormAtOnce if x.device.type in AT_ONCE else _BatchNormOneByOne
        y: Tensor = self.after(function.apply(_dense(x), self.gamma, self.beta, self))
        return y

    def next_momentum(self) -> float:
        """How far the running statistics move to those of this batch."""
        if self.statistics != "batch, tracked":
            return 0.0
        self.n_batches += 1
        return 1 / self.n_batches if self.momentum is None else self.momentum

    @torch.no_grad()
    def take(self, mean: Float[Tensor, "e c"], var: Float[Tensor, "e c"]) -> None:
        """Take other running statistics; scale and shift stay."""
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)

    @torch.no_grad()
    def convert(self, mean: Float[Tensor, "e c"], var: Float[Tensor, "e c"]) -> None:
        """Take other running statistics, and change scale and shift so that eval mode gives the same as before.

        Source: DAFT's conversion of a BatchNorm layer to target statistics:
        γ' = γ √(σn² + ε) / √(σo² + ε), β' = β + (μn - μo) γ / √(σo² + ε), with the old γ in both.
        """
        per_std = self.gamma * torch.rsqrt(self.running_var + self.eps)
        self.beta.add_((mean - self.running_mean) * per_std)
        self.gamma.copy_(per_std * torch.sqrt(var + self.eps))
        self.take(mean, var)


class _BatchNormOneByOne(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, layer: EpisodicBatchNorm
    ) -> Tensor:
        batch, momentum = layer.statistics != "running", layer.next_momentum()
        mean, rstd = layer.running_mean, torch.rsqrt(layer.running_var + layer.eps)
        if batch:
            mean, rstd = torch.empty_like(mean), torch.empty_like(rstd)
        y = torch.empty_like(x)
        none = mean.new_empty(0)
        for e, (part, out) in enumerate(zip(x.chunk(len(gamma)), y.chunk(len(gamma)), strict=True)):
            torch.ops.aten.native_batch_norm.out(
                part,
                gamma[e],
                beta[e],
                layer.running_mean[e] if momentum or not batch else None,
                layer.running_var[e] if momentum or not batch else None,
                batch,
                momentum,
                layer.eps,
                out=out,
                save_mean=mean[e] if batch else none,
                save_invstd=rstd[e] if batch else none,
            )
        ctx.save_for_backward(x, gamma, mean, rstd)
        ctx.batch = batch
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        (g,) = gradients
        x, gamma, mean, rstd = ctx.saved_tensors
        training = True  # so that both kinds of statistics come in as mean and rstd; the sums are the same
        through_statistics = ctx.batch and ctx.needs_input_grad[0]
        parts = []
        for e, (part, g_part) in enumerate(zip(x.chunk(len(gamma)), g.chunk(len(gamma)), strict=True)):
            parts.append(
                torch.ops.aten.native_batch_norm_backward(
                    g_part,
                    part,
                    gamma[e],
                    None,
                    None,
                    mean[e],
                    rstd[e],
                    training,
                    0.0,
                    [through_statistics, True, True],
                )
            )
        if through_statistics:
            g_x = torch.cat([part[0] for part in parts]) if len(parts) > 1 else parts[0][0]
        else:
            g_x = g * _of_images(gamma * rstd, g) if ctx.needs_input_grad[0] else None
        return g_x, torch.stack([part[1] for part in parts]), torch.stack([part[2] for part in parts]), None


class _BatchNormAtOnce(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, layer: EpisodicBatchNorm
    ) -> Tensor:
        ctx.batch, momentum = layer.statistics != "running", layer.next_momentum()
        x_e, over = _episodes(x, gamma)
        mean, var = layer.running_mean, layer.running_var
        if ctx.batch:
            var, mean = torch.var_mean(x_e.to(gamma.dtype), over, correction=0)
        if momentum:
            n = x_e[0, :, 0].numel()
            layer.running_mean.lerp_(mean, momentum)
            layer.running_var.lerp_(var * (n / (n - 1)), momentum)
        rstd = torch.rsqrt(var + layer.eps)
        scale = gamma * rstd
        y = torch.empty_like(x)
        torch.addcmul(_wide(beta - mean * scale, x), x_e, _wide(scale, x), out=_episodes(y, gamma)[0])
        ctx.save_for_backward(x, gamma, mean, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        (g,) = gradients
        x, gamma, mean, rstd = ctx.saved_tensors
        (x_e, over), (g_e, _) = _episodes(x, gamma), _episodes(g, gamma)
        g_beta = g_e.sum(over, dtype=gamma.dtype)
        g_gamma = (x_e - _wide(mean, x)).mul_(g_e).sum(over) * rstd
        if not ctx.needs_input_grad[0]:
            return None, g_gamma, g_beta, None
        if ctx.batch:  # what flows through mean and variance
            n = x_e[0, :, 0].numel()
            through_mean, through_rstd = g_beta / -n, rstd * g_gamma / -n
            g_e = torch.addcmul(_wide(through_mean - mean * through_rstd, x), x_e, _wide(through_rstd, x)).add_(g_e)
        g_x = torch.empty_like(x)
        torch.mul(g_e, _wide(gamma * rstd, x), out=_episodes(g_x, gamma)[0])
        return g_x, g_gamma, g_beta, None


def _episodes(x: Float[Tensor, "en c *size"], gamma: Float[Tensor, "e c"]) -> tuple[Tensor, tuple[int, ...]]:
    """The batch as [e n c ...], and the axes over which a channel of an episode extends."""
    return x.unflatten(0, (len(gamma), -1)), (1, *range(3, x.ndim + 1))


def _wide(per_episode: Float[Tensor, "e c"], x: Float[Tensor, "en c *size"]) -> Float[Tensor, "e 1 c *ones"]:
    """Ready to be combined with the batch as [e n c ...]."""
    e, c = per_episode.shape
    return per_episode.reshape(e, 1, c, *(1 for _ in range(x.ndim - 2)))


def _dense(x: Float[Tensor, "en c *size"]) -> Float[Tensor, "en c *size"]:
    """In a layout that torch's kernels can write: they take others for the first of these."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.is_contiguous() or (x.ndim in layouts and x.is_contiguous(memory_format=layouts[x.ndim])):
        return x
    return x.contiguous()


def _of_images(per_episode: Float[Tensor, "e c"], x: Float[Tensor, "en c *size"]) -> Float[Tensor, "en c *ones"]:
    """The value of each image's episode, in the dtype of `x` and ready to be multiplied with it."""
    of_images = per_episode.to(x.dtype).repeat_interleave(len(x) // len(per_episode), 0)
    return of_images.reshape(*of_images.shape, *(1 for _ in range(x.ndim - 2)))


def episodic(frozen: nn.Module, n_episodes: int) -> EpisodicNorm:
    """The episodic layer that starts as `frozen` in eval mode in every episode."""
    if isinstance(frozen, _BatchNorm):
        return EpisodicBatchNorm(frozen, n_episodes)
    return EpisodicAffine(frozen, n_episodes)
