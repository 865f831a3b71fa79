"""The engine of the tuned adapters: one frozen network that runs many episodes at once.

Convolutions are frozen and shared; episodes differ only in the scale and shift of their norm layers. What lies before
the first tuned layer is a constant of each image: the network is cut there, and `stem` runs once per image. A network
that cannot be traced stays whole.

The scales of all layers are one tensor and the shifts another, so that an optimiser has two parameters and not two
per layer; affines.py sets them.

Shapes: images [e b 3 h w]; gamma, beta [e a], a being the channels of all tuned layers, but none in beta for a kind of
layers that has no shift; features [e b d].
"""

import contextlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot_bn.adapters.norm_tuning.episodic_norm import EpisodicBatchNorm, EpisodicNorm, Statistics, episodic
from fewshot_bn.adapters.norm_tuning.norm_layers import shared_copy
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.graph import cut
from fewshot_bn.errors import ModelError

Stem = tuple[Tensor, ...]


class _NoRowPerImageError(Exception):
    """A value between the two parts of a network is no tensor with a row per image."""


class EpisodicNetwork:
    """`backbone` for `n_episodes` episodes, its norm layers `names` made episodic; the backbone itself stays untouched.

    With `low_precision` convolutions and matrix products run in bfloat16, norm layers and everything tuned in float32.
    """

    def __init__(
        self, backbone: Backbone, names: Sequence[str], n_episodes: int, *, low_precision: bool = False
    ) -> None:
        self.n_episodes = n_episodes
        self._low_precision = low_precision
        self._network = shared_copy(backbone.module, _in_bfloat16(backbone.module) if low_precision else None)
        for module in self._network.modules():
            if isinstance(module, nn.Hardtanh | nn.Hardswish | nn.SiLU):
                module.inplace = False  # in place, autograd would first copy their input, which it needs
        self.layers = self._make_episodic(names)
        with torch.no_grad():
            self.gamma = torch.cat([layer.gamma.flatten(1) for layer in self.layers], 1)
            self.beta = torch.cat([layer.beta.flatten(1) for layer in self.layers], 1)
        self._sizes = [(layer.gamma[0].numel(), layer.beta[0].numel()) for layer in self.layers]
        self._device = self.gamma.device.type
        self._copies = False
        self._parts = cut(self._network, backbone.graph, set(names)) if backbone.graph else None

    @property
    def running(self) -> list[Tensor]:
        """The running statistics, a row an episode."""
        batch_norms = [layer for layer in self.layers if isinstance(layer, EpisodicBatchNorm)]
        return [tensor for layer in batch_norms for tensor in (layer.running_mean, layer.running_var)]

    def try_cut(self, x: Float[Tensor, "e b 3 h w"]) -> None:
        """Find out on a few images how the network can be run: cut or whole, on its inputs or on copies of them.

        Copies are for networks that overwrite their inputs; whole stays one where some value at the cut is no tensor
        with a row per image.
        """
        for parts, copies in ((self._parts, False), (self._parts, True), (None, False), (None, True)):
            self._parts, self._copies = parts, copies
            trial = x.clone()
            try:
                with torch.no_grad():
                    stem = self.stem(trial)
                    versions = [value._version for value in (trial, *stem)]  # noqa: SLF001 - counts writes in place
                    self.features(stem)
            except _NoRowPerImageError:
                continue
            untouched = trial._version == 0 and versions == [v._version for v in (trial, *stem)]  # noqa: SLF001
            if untouched or copies:
                return

    def stem(self, x: Float[Tensor, "e b 3 h w"]) -> Stem:
        """What reaches the first tuned layer, tensors [e b ...]; the images themselves where the network is not cut."""
        size = x.shape[:2]
        values: Stem = (x.flatten(0, 1),)
        if self._parts:
            with torch.no_grad(), self._precision():
                values = self._parts[0](*self._safe(values))
        if not all(isinstance(value, Tensor) and value.shape[:1] == (size.numel(),) for value in values):
            raise _NoRowPerImageError
        return tuple(value.unflatten(0, size) for value in values)

    def features(self, stem: Stem, statistics: Statistics = "running") -> Float[Tensor, "e b d"]:
        """The features of what `stem` gave, under the present scales and shifts."""
        size = stem[0].shape[:2]
        self._bind(statistics, size.numel())
        rest = self._parts[1] if self._parts else self._network
        try:
            with self._precision():
                z: Tensor = rest(*self._safe(tuple(value.flatten(0, 1) for value in stem)))
        except (AttributeError, TypeError) as problem:
            raise ModelError(
                f"the network does more with a norm layer than call it on its input, so it cannot be tuned: {problem}"
            ) from problem
        return z.to(self.gamma.dtype).reshape(*size, -1)

    def _safe(self, values: Stem) -> Stem:
        return tuple(value.clone() for value in values) if self._copies else values

    def kept_bytes(self, x: Float[Tensor, "e b 3 h w"]) -> int:
        """What one image keeps in memory between the forward and the backward pass of a training step."""
        self.try_cut(x)
        for affine in (self.gamma, self.beta):
            affine.requires_grad_()
        frozen = {tensor.untyped_storage().data_ptr() for tensor in self._network.state_dict().values()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            z = self.features(self.stem(x))
        return sum(n for place, n in kept.items() if place not in frozen) // x.shape[:2].numel() if z.numel() else 0

    @torch.no_grad()
    def convert(self, stem: Stem) -> None:
        """Give every tuned BatchNorm layer the statistics of its input on these images; eval mode stays as it is."""
        found: dict[EpisodicBatchNorm, tuple[Tensor, Tensor]] = {}

        def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if isinstance(layer, EpisodicBatchNorm):
                x = inputs[0].unflatten(0, (self.n_episodes, -1)).transpose(1, 2).flatten(2).to(self.gamma.dtype)
                found.setdefault(layer, (x.mean(2), x.var(2, unbiased=False)))  # of its first use

        with contextlib.ExitStack() as hooks:
            for layer in self.layers:
                hooks.callback(layer.register_forward_pre_hook(measure).remove)
            self.features(stem)
        for layer, (mean, var) in found.items():
            layer.convert(mean, var)

    def _make_episodic(self, names: Sequence[str]) -> list[EpisodicNorm]:
        made: dict[nn.Module, EpisodicNorm] = {}
        modules = dict(self._network.named_modules(remove_duplicate=False))
        chosen = [modules[name] for name in names]
        for name, module in modules.items():
            if module in chosen:
                made.setdefault(module, episodic(module, self.n_episodes))
                self._network.set_submodule(name, made[module])
        return list(made.values())

    def _bind(self, statistics: Statistics, n_images: int) -> None:
        scales, shifts = zip(*self._sizes, strict=True)
        parts = zip(self.layers, self.gamma.split(scales, 1), self.beta.split(shifts, 1), strict=True)
        for layer, gamma, beta in parts:
            layer.n_images = n_images
            layer.gamma, layer.beta = gamma.reshape(layer.gamma.shape), beta.reshape(layer.beta.shape)
            if isinstance(layer, EpisodicBatchNorm):
                layer.statistics = statistics

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self._device, torch.bfloat16, enabled=self._low_precision)


def _in_bfloat16(network: nn.Module) -> dict[int, Tensor]:
    """The weights of convolutions and linear layers, which autocast would convert again in every step."""

    def convert(tensor: Tensor) -> Tensor:
        layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        return tensor.to(torch.bfloat16, memory_format=layout)

    kinds = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - the base class of all convolutions
    layers = [module for module in network.modules() if isinstance(module, kinds)]
    return {id(tensor): convert(tensor) for layer in layers for tensor in layer.parameters(recurse=False)}
