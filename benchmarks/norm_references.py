"""What the plain loops do with norm layers: which are tuned, what is trained of them, and their statistics."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import register_parametrization

from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.backbones.backbone import Backbone


def plain_norms(network: nn.Module, backbone: Backbone, settings: Tuning) -> list[nn.Module]:
    """The norm layers that are tuned, or whose statistics follow the policy."""
    names = settings.choose(backbone)
    if isinstance(settings, NormTuning):
        return [network.get_submodule(name) for name in names]
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    return [module for name, module in layers if {f"{name}.weight", f"{name}.bias"} & {*names}]


class Relative(nn.Module):
    """A parameter as a multiple, from zero on, of a unit away from where it was."""

    def __init__(self, origin: Tensor, unit: Tensor) -> None:
        super().__init__()
        self.origin, self.unit = origin.detach().clone(), unit.detach().clone()

    def forward(self, value: Tensor) -> Tensor:
        return self.origin + self.unit * value

    def right_inverse(self, parameter: Tensor) -> Tensor:
        return torch.zeros_like(parameter)


def measure_from_here(norms: list[nn.Module], settings: NormTuning) -> None:
    n_values = sum(getattr(norm, name).numel() for norm in dict.fromkeys(norms) for name in trained_of(norm, settings))
    for norm in dict.fromkeys(norms):
        unit = norm.weight.abs() / math.sqrt(n_values)
        for name in ("weight", "bias"):
            if getattr(norm, name, None) is not None:
                register_parametrization(norm, name, Relative(getattr(norm, name), unit))


def measure_weights_from_here(network: nn.Module, names: list[str]) -> list[Tensor]:
    """Parameters as multiples of the size of each filter; those multiples."""
    parameters = {name: network.get_parameter(name) for name in names}
    root = math.sqrt(sum(value.numel() for value in parameters.values()))
    units = {name: unit_of(network, name, value.detach()) / root for name, value in parameters.items()}
    trained = []
    for name, unit in units.items():
        place, _, attribute = name.rpartition(".")
        module = network.get_submodule(place)
        register_parametrization(module, attribute, Relative(getattr(module, attribute), unit))
        trained.append(getattr(module.parametrizations, attribute).original)
    return trained


def unit_of(network: nn.Module, name: str, value: Tensor) -> Tensor:
    place, _, attribute = name.rpartition(".")
    scale = getattr(network.get_submodule(place), "weight", None)
    if attribute in ("weight", "bias") and scale is not None and scale.dim() == 1:
        return scale.detach().abs()
    if not value.any():
        return torch.ones(())
    filters = value if value.dim() > 1 else value[None]
    sizes = torch.stack([each.square().mean().sqrt() for each in filters])
    return sizes.reshape(-1, *[1] * (value.dim() - 1)) if value.dim() > 1 else sizes[0]


def trained_of(norm: nn.Module, settings: NormTuning) -> list[str]:
    """What is trained of a layer; RMSNorm has no shift."""
    names = {"both": ("weight", "bias"), "scale": ("weight",), "shift": ("bias",)}[settings.affines]
    return [name for name in names if getattr(norm, name, None) is not None]


def plain_affines(norms: list[nn.Module], settings: NormTuning) -> list[Tensor]:
    relative = settings.units == "relative"
    return [
        getattr(norm.parametrizations, name).original if relative else getattr(norm, name)
        for norm in dict.fromkeys(norms)
        for name in trained_of(norm, settings)
    ]


@torch.no_grad()
def convert(network: nn.Module, norms: list[nn.Module], x: Tensor) -> None:
    """Each layer's statistics become those of its input on `x`, one layer after another from the front."""
    for norm in norms:
        mean, var = measured(network, norm, x)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias += (mean - norm.running_mean) * scale
        norm.weight.copy_(scale * torch.sqrt(var + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)


@torch.no_grad()
def take_statistics(network: nn.Module, norms: list[nn.Module], x: Tensor) -> None:
    """Each layer's statistics become those of its input on `x`, as it is where the layers before have theirs."""
    for norm in norms:
        mean, var = measured(network, norm, x)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)


def measured(network: nn.Module, norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of what reaches a layer, at its first use."""
    inputs = []
    handle = norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    network(x)
    handle.remove()
    values = inputs[0].transpose(0, 1).flatten(1)
    return values.mean(1), values.var(1, unbiased=False)
