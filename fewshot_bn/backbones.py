"""Backbones: a frozen network that maps normalised images to features, with the preprocessing it was trained with.

A backbone is named by a shipped card, by the path of a user's card, or as a torchvision model (`resnet50`,
`torchvision:resnet50`). `weights` replaces its weights: a file, the name of official weights, or `random`.
"""

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from fewshot_bn import paths, torch_chance, torchvision_models
from fewshot_bn.cards import read_card
from fewshot_bn.checkpoints import KeyRules, load_strictly, read_checkpoint, sha256_of, tensors_of
from fewshot_bn.datasets.dataset import digest
from fewshot_bn.errors import ModelError, UsageError, unknown
from fewshot_bn.layout import move
from fewshot_bn.networks import NETWORKS
from fewshot_bn.pixels import Preprocessing
from fewshot_bn.request import DEFAULT_MODEL
from fewshot_bn.tracing import trace

RANDOM = "random"
TORCHVISION = "torchvision:"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The card of a checkpoint: `models/<name>.toml`. `weights` is a file beside the card, pinned by `sha256`.

    `network` is a name of `networks.NETWORKS` or `torchvision:<name>`, called with `arguments`; `norm_eps` replaces
    the epsilon of its BatchNorm layers. `expected` are accuracies measured with it, by a description of the run.
    """

    name: str
    title: str
    network: str
    preprocessing: Preprocessing
    weights: str
    sha256: str
    arguments: dict[str, Any] = field(default_factory=dict)
    norm_eps: float | None = None
    keys: KeyRules = field(default_factory=KeyRules)
    licence: str = ""
    source: str = ""
    recipe: str = ""
    expected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network in eval mode without gradients that gives `dim` features per image.

    `weights` says which weights; `fingerprint` stands for the architecture and every weight and buffer; `card`
    is the SHA-256 of the card's file, where there is one; `graph` is the traced forward pass, where that is possible.
    """

    name: str
    weights: str
    module: nn.Module
    dim: int
    preprocessing: Preprocessing
    fingerprint: str
    card: str = ""
    graph: fx.Graph | None = None
    notices: tuple[str, ...] = ()

    @torch.no_grad()
    def features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with exact_convolutions():
            z: Tensor = self.module(x)
        return z


def exact_convolutions() -> contextlib.AbstractContextManager[None]:
    """On a GPU, full float32 (no TF32) and algorithms that give the same answer every time; on a CPU, nothing."""
    exact: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return exact


def shipped_models() -> dict[str, Path]:
    """The cards that come with the package, by name."""
    return {path.stem: path for path in sorted(paths.shipped("models").glob("*.toml"))}


def load_backbone(
    model: str = DEFAULT_MODEL,
    *,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    strict: bool = False,
) -> Backbone:
    """Build the backbone `model` on `device`, frozen and in eval mode.

    Raises `UsageError` for an unknown model and `ModelError` for weights that are absent, unsafe or do not fit. With
    `strict`, weights other than those a card pins are an error instead of a notice.
    """
    path = shipped_models().get(model, Path(model))
    if path.suffix == ".toml":
        backbone = replace(
            _from_card(read_card(path, ModelCard, ModelError), path.parent, weights), card=sha256_of(path)
        )
    else:
        backbone = _from_torchvision(model.removeprefix(TORCHVISION), weights)
    if strict and backbone.notices:
        raise ModelError(f"{backbone.notices[0]}; --strict takes only exactly what the card says")
    move(backbone.module, device)
    return backbone


def _from_card(card: ModelCard, folder: Path, weights: str | None) -> Backbone:
    network = _build(card)
    notices: tuple[str, ...] = ()
    if weights == RANDOM:
        _randomise(network)
    else:
        file = Path(weights) if weights else folder / card.weights
        if not file.is_file():
            where = f" (from {card.source})" if card.source else ""
            raise ModelError(f"{card.name}: no weights file {file}; get it{where} or name it with --weights")
        sha256 = sha256_of(file)
        if sha256 != card.sha256.lower():
            found = f"{card.name}: {file} has SHA-256 {sha256[:12]}…, the card pins {card.sha256[:12]}…"
            if weights is None:
                raise ModelError(f"{found}: damaged or changed; get it again")
            notices = (f"{found}: these are other weights than the card's",)
        _load(network, file, card.keys)
    architecture = f"{card.network} {card.arguments} {card.norm_eps}"
    backbone = freeze(network, card.name, weights or card.weights, card.preprocessing, architecture=architecture)
    return replace(backbone, notices=notices)


def _from_torchvision(name: str, weights: str | None) -> Backbone:
    known = torchvision_models.torchvision_names()
    if name not in known and Path(name).is_file():
        raise UsageError(
            f"--model {name} is no card (.toml); name a network or a card, and these weights with --weights"
        )
    if name not in known:
        raise UsageError(f"{unknown('model', name, [*shipped_models(), *known])}, or give the path of a card (.toml)")
    network, head = torchvision_models.build_headless(name)
    preprocessing = torchvision_models.official_preprocessing(name)
    if weights == RANDOM:
        _randomise(network)
    elif weights and (Path(weights).is_file() or Path(weights).suffix or len(Path(weights).parts) > 1):
        _load(network, Path(weights), KeyRules(drop=(f"{head}.*",)))
    else:
        weights, tensors, preprocessing = torchvision_models.official_weights(name, weights)
        rules = KeyRules(drop=(f"{head}.*",))
        load_strictly(network, tensors_of(tensors, rules, name), rules.may_lack, where=f"{name} {weights}")
        if hasattr(network, "transform_input"):  # GoogLeNet and Inception, ported from another normalisation
            network.transform_input = True  # type: ignore[assignment]
    return freeze(network, name, weights, preprocessing, architecture=TORCHVISION + name)


def _build(card: ModelCard) -> nn.Module:
    if card.network.startswith(TORCHVISION):
        network, _ = torchvision_models.build_headless(card.network.removeprefix(TORCHVISION), card.arguments)
    elif card.network in NETWORKS:
        try:
            with torch_chance.state(0, "random weights"):
                network = NETWORKS[card.network](**card.arguments)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as problem:
            raise ModelError(
                f"{card.name}: {card.network} cannot be built with {card.arguments}: {problem}"
            ) from problem
    else:
        raise ModelError(f"{card.name}: {unknown('network', card.network, NETWORKS)}, or {TORCHVISION}<name>")
    if card.norm_eps is not None:
        if not 0 < card.norm_eps < math.inf:
            raise ModelError(f"{card.name}: norm_eps is {card.norm_eps}; it must be a finite number above 0")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = card.norm_eps
    return network


def _load(network: nn.Module, file: Path, rules: KeyRules) -> None:
    tensors = tensors_of(read_checkpoint(file), rules, where=str(file))
    load_strictly(network, tensors, rules.may_lack, where=str(file))


def _randomise(network: nn.Module) -> None:
    """A fixed random initialisation, the control of every pretraining: He normal weights, neutral norm layers.

    Source: He et al. 2015, arXiv:1502.01852, section 2.2.
    """
    generator = torch_chance.generator(0, "random weights")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            module.weight.data.mul_(math.sqrt(getattr(module, "groups", 1)))  # fan_out is counted as without groups
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def freeze(network: nn.Module, name: str, weights: str, preprocessing: Preprocessing, *, architecture: str) -> Backbone:
    """`network` as a backbone: frozen, in eval mode, its feature size and fingerprint taken.

    `architecture` tells networks apart that have the same weights, such as other strides. Raises `ModelError` where
    the network does not give one feature vector per image.
    """
    move(network.eval().requires_grad_(requires_grad=False), "cpu")
    dim = _count_features(network, name, preprocessing.crop_px)
    state = [
        part
        for key, value in network.state_dict().items()
        for part in (key, value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())
    ]
    fingerprint = digest([architecture, *state])
    return Backbone(name, Path(weights).name, network, dim, preprocessing, fingerprint, graph=trace(network))


def with_preprocessing(backbone: Backbone, preprocessing: Preprocessing) -> Backbone:
    """The same network for images of another geometry. Raises `ModelError` where it does not take them."""
    dim = _count_features(backbone.module, backbone.name, preprocessing.crop_px)
    return replace(backbone, preprocessing=preprocessing, dim=dim)


def _count_features(network: nn.Module, name: str, side_px: int) -> int:
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        with torch.no_grad():
            z = network(torch.zeros(2, 3, side_px, side_px, device=device))
    except (RuntimeError, AssertionError) as problem:
        raise ModelError(f"{name}: does not take images of {side_px} px: {problem}") from problem
    if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] == 0:
        raise ModelError(f"{name}: gives no feature vector per image of {side_px} px, so it cannot serve as a backbone")
    return z.shape[1]
