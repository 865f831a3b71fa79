"""The engine of the tuners: one frozen network that runs many episodes at once.

What is frozen is shared; episodes differ only in the layers that are replaced by episodic ones (layers.py). A tensor of
the network that is trained itself becomes the network's own, a copy; it has room for a single episode. What lies before
the first layer that differs is a constant of each image: the network is cut there, and `stem` runs once per image. A
network that cannot be traced stays whole.

Shapes: images [e b 3 h w]; features [e b d].
"""

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from fewshot_bn.adapters.tuning.episodic_norm import EpisodicBatchNorm, EpisodicNorm, Statistics
from fewshot_bn.adapters.tuning.layers import EpisodicLayer
from fewshot_bn.adapters.tuning.norm_layers import shared_copy
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.graph import cut
from fewshot_bn.errors import ModelError

Stem = tuple[Tensor, ...]
MakeLayer = Callable[[nn.Module, int], EpisodicLayer]


class _NoRowPerImageError(Exception):
    """A value between the two parts of a network is no tensor with a row per image."""


class EpisodicNetwork:
    """`backbone` for `n_episodes` episodes; the backbone itself stays untouched.

    `layers` says, by name, what makes an episodic layer of a layer. The parameters named in `own` are copied, to be
    trained. With `low_precision` convolutions and matrix products run in bfloat16, norm layers and everything tuned in
    float32.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Mapping[str, MakeLayer],
        n_episodes: int,
        *,
        own: Collection[str] = (),
        low_precision: bool = False,
    ) -> None:
        self.n_episodes, self.dim = n_episodes, backbone.dim
        parameters = dict(backbone.module.named_parameters())
        self.pretrained = {name: parameters[name].detach() for name in own}
        self.own = {name: nn.Parameter(value.clone()) for name, value in self.pretrained.items()}
        replaced: dict[int, Tensor] = _in_bfloat16(backbone.module) if low_precision else {}
        self._network = shared_copy(
            backbone.module, {**replaced, **{id(parameters[name]): value for name, value in self.own.items()}}
        )
        for module in self._network.modules():
            if isinstance(module, nn.Hardtanh | nn.Hardswish | nn.SiLU):
                module.inplace = False  # in place, autograd would first copy their input, which it needs
        self._like = next(itertools.chain(parameters.values(), backbone.module.buffers()))
        self._low_precision, self._copies = low_precision, False
        self.layers = self._make_episodic(layers)
        self.map: Tensor | None = None  # of the features of each episode, linear, [e d d]
        self._parts = cut(self._network, backbone.graph, self._differs) if backbone.graph else None

    @property
    def norms(self) -> list[EpisodicNorm]:
        """The norm layers that are episodic."""
        return [layer for layer in self.layers.values() if isinstance(layer, EpisodicNorm)]

    def scale_of(self, name: str) -> Tensor | None:
        """The present scale [c] of a norm layer, that of the first episode; None where this is no norm layer."""
        layer = self._network.get_submodule(name)
        if isinstance(layer, EpisodicNorm):
            scale: Tensor | None = layer.gamma[0].flatten()
        else:
            scale = getattr(layer, "weight", None)
        return scale.detach() if isinstance(scale, Tensor) and scale.ndim == 1 else None

    @property
    def running(self) -> list[Tensor]:
        """The running statistics of episodic norm layers, a row an episode."""
        return [tensor for layer in self.batch_norms for tensor in (layer.running_mean, layer.running_var)]

    @property
    def batch_norms(self) -> list[EpisodicBatchNorm]:
        return [layer for layer in self.layers.values() if isinstance(layer, EpisodicBatchNorm)]

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
        """What reaches the first layer that differs, tensors [e b ...]; the images where the network is not cut."""
        size = x.shape[:2]
        values: Stem = (x.flatten(0, 1),)
        if self._parts:
            with torch.no_grad(), self._precision():
                values = self._parts[0](*self._safe(values))
        if not all(isinstance(value, Tensor) and value.shape[:1] == (size.numel(),) for value in values):
            raise _NoRowPerImageError
        return tuple(value.unflatten(0, size) for value in values)

    def features(self, stem: Stem, statistics: Statistics = "running") -> Float[Tensor, "e b d"]:
        """The features of what `stem` gave, under what the layers hold at present."""
        size = stem[0].shape[:2]
        for layer in self.layers.values():
            layer.n_images = size.numel()
            if isinstance(layer, EpisodicBatchNorm):
                layer.statistics = statistics
        rest = self._parts[1] if self._parts else self._network
        try:
            with self._precision():
                z: Tensor = rest(*self._safe(tuple(value.flatten(0, 1) for value in stem)))
        except (AttributeError, TypeError) as problem:
            if not self.layers:
                raise
            kind = next(iter(self.layers.values())).title
            raise ModelError(
                f"the network does more with a {kind} layer than call it on its input, so it cannot be tuned: "
                f"{problem}; --mode ft or ft-last, which train its own weights, work with any network"
            ) from problem
        z = z.to(self._like.dtype).reshape(*size, -1)
        return z if self.map is None else torch.bmm(z, self.map.mT)

    def _safe(self, values: Stem) -> Stem:
        return tuple(value.clone() for value in values) if self._copies else values

    def kept_bytes(self, x: Float[Tensor, "e b 3 h w"], values: Collection[Tensor]) -> int:
        """What one image keeps in memory between forward and backward pass of a step that trains these values."""
        frozen = {tensor.untyped_storage().data_ptr() for tensor in (*self._network.state_dict().values(), *values)}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            z = self.features(self.stem(x))
        return sum(n for place, n in kept.items() if place not in frozen) // x.shape[:2].numel() if z.numel() else 0

    def convert(self, stems: Iterable[Stem]) -> None:
        """Give episodic BatchNorm the statistics of its input on these images; eval mode stays as it is.

        The images come in parts, whose statistics are pooled by the law of total variance.
        """
        pooled: dict[EpisodicBatchNorm, tuple[Tensor, Tensor]] = {}
        n_before = 0
        for stem in stems:
            n = stem[0].shape[1]
            share = n / (n_before + n)
            for layer, found in self._statistics(stem, taken=False).items():
                mean, var = (value.double() for value in found)
                pooled_mean, pooled_var = pooled.get(layer, (mean, var))
                between = share * (1 - share) * (mean - pooled_mean).square()
                pooled[layer] = pooled_mean.lerp(mean, share), pooled_var.lerp(var, share) + between
            n_before += n
        for layer, (mean, var) in pooled.items():
            layer.convert(mean.to(self._like.dtype), var.to(self._like.dtype))

    def take_statistics(self, stem: Stem) -> None:
        """Give episodic BatchNorm the statistics of its input on these images, scale and shift staying as they are.

        A layer sees its input as the layers before it give it with their new statistics.
        """
        self._statistics(stem, taken=True)

    @torch.no_grad()
    def _statistics(self, stem: Stem, *, taken: bool) -> dict[EpisodicBatchNorm, tuple[Tensor, Tensor]]:
        """Mean and variance of what reaches each layer; `taken` at once, or left to the caller."""
        found: dict[EpisodicBatchNorm, tuple[Tensor, Tensor]] = {}

        def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if isinstance(layer, EpisodicBatchNorm) and layer not in found:  # of its first use
                x = inputs[0].unflatten(0, (self.n_episodes, -1)).transpose(1, 2).flatten(2).to(self._like.dtype)
                found[layer] = x.mean(2), x.var(2, unbiased=False)
                if taken:
                    layer.take(*found[layer])

        with contextlib.ExitStack() as hooks:
            for layer in self.batch_norms:
                hooks.callback(layer.register_forward_pre_hook(measure).remove)
            self.features(stem)
        return found

    def _make_episodic(self, makers: Mapping[str, MakeLayer]) -> dict[str, EpisodicLayer]:
        """The episodic layers by name; one that has several names has the first."""
        modules = dict(self._network.named_modules(remove_duplicate=False))
        chosen = {modules[name]: maker for name, maker in makers.items()}
        made: dict[nn.Module, EpisodicLayer] = {}
        found: dict[str, EpisodicLayer] = {}
        for name, module in modules.items():
            if module not in chosen:
                continue
            if module not in made:
                made[module] = found[name] = chosen[module](module, self.n_episodes)
            self._network.set_submodule(name, made[module])
        return found

    def _differs(self, node: fx.Node) -> bool:
        """Whether a call of the traced network gives something that is not the same for every episode."""
        own = {id(value) for value in self.own.values()}
        if node.op == "get_attr":
            place, _, name = str(node.target).rpartition(".")
            return id(getattr(self._network.get_submodule(place), name, None)) in own
        if node.op != "call_module":
            return False
        module = self._network.get_submodule(str(node.target))
        return any(isinstance(part, EpisodicLayer) for part in module.modules()) or any(
            id(value) in own for value in module.parameters()
        )

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self._like.device.type, torch.bfloat16, enabled=self._low_precision)


def _in_bfloat16(network: nn.Module) -> dict[int, Tensor]:
    """The weights of convolutions and linear layers, which autocast would convert again in every step."""

    def convert(tensor: Tensor) -> Tensor:
        layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        return tensor.to(torch.bfloat16, memory_format=layout)

    kinds = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - the base class of all convolutions
    layers = [module for module in network.modules() if isinstance(module, kinds)]
    return {id(tensor): convert(tensor) for layer in layers for tensor in layer.parameters(recurse=False)}
