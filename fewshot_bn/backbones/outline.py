"""Networks without memory for their weights: names and shapes, for asking which network a checkpoint is of.

Only what layers make their weights with is put on torch's meta device, so that networks which compute with numbers of
tensors while they are built (RegNet) can be built too.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fewshot_bn.backbones.build import build_network
from fewshot_bn.backbones.cards.card import ModelCard
from fewshot_bn.runtime import plain_torch

OF_WEIGHTS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


class _Outline(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in OF_WEIGHTS and given.get("device") is None:
            given["device"] = "meta"
        return func(*args, **given)


@plain_torch()
def outline(card: ModelCard) -> nn.Module:
    """The network of `card` in eval mode, without memory for its weights. Raises `ModelError` as its building does.

    With memory if its code asks for numbers that it has just made, as timm's does.
    """
    try:
        with _Outline():
            return build_network(card).eval()
    except (RuntimeError, NotImplementedError):
        return build_network(card).eval()
