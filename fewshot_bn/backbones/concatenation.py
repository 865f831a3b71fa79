"""Several backbones as one: their features side by side, each with the images it was trained for (`a+b`).

Norm layers are named after the place of their member: `0.bn1`, `1.layer4.0.bn2`. Where members differ in mean and std,
the whole takes images of 0..1 and each member normalises them for itself.

Source: concatenated networks as richer representations: Zhang and Bottou 2023, arXiv:2212.07346, section 3 (CATn).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot_bn.backbones.backbone import Backbone, with_preprocessing
from fewshot_bn.backbones.graph import trace
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.files.atomic import digest
from fewshot_bn.preprocessing import Preprocessing

SIGN = "+"


class SideBySide(nn.ModuleList):
    """The features of several networks, one after the other.

    With `contracts`, one for each, images are of 0..1 and each network sees them normalised by its own mean and std.
    """

    def __init__(self, networks: Sequence[nn.Module], contracts: Sequence[Preprocessing] = ()) -> None:
        super().__init__(networks)
        for place, contract in enumerate(contracts):
            device = next((parameter.device for parameter in networks[place].parameters()), None)
            for name, values in (("mean", contract.mean), ("std", contract.std)):
                value = torch.tensor(values, device=device)[:, None, None]
                self.register_buffer(f"{name}_{place}", value, persistent=False)
        self._normalises = bool(contracts)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return torch.cat([network(self._own(place, x)) for place, network in enumerate(self)], 1)

    def _own(self, place: int, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Some networks overwrite their input, which is the next one's too."""
        return self.seen_by(place, x) if self._normalises else x.clone()

    def seen_by(self, place: int, x: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
        """The images as the network at `place` takes them."""
        if not self._normalises:
            return x
        mean, std = (self.get_buffer(f"{name}_{place}") for name in ("mean", "std"))
        return (x - mean) / std


class OfSeveralGeometries(nn.ModuleList):
    """Networks that see images of different geometry, so that no one image is for all."""

    def forward(self, _: Tensor) -> Tensor:
        raise ModelError("networks that see images of different geometry cannot be run on the same image")


def concatenate(members: Sequence[Backbone]) -> Backbone:
    """`members` as one backbone, whose features are theirs side by side. Raises `UsageError` if one is there twice."""
    members = [one for member in members for one in (member.members or [member])]
    fingerprints = [member.fingerprint for member in members]
    names = [member.name for member in members]
    if len(set(fingerprints)) < len(members):
        raise UsageError(f"{SIGN.join(names)}: two members are the same network with the same weights; name each once")
    contracts = [member.preprocessing for member in members]
    networks = [member.module for member in members]
    one_geometry = len({contract.geometry for contract in contracts}) == 1
    one_contract = len(set(contracts)) == 1
    shared = contracts[0] if one_contract else replace(contracts[0], mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    module = SideBySide(networks, () if one_contract else contracts) if one_geometry else OfSeveralGeometries(networks)
    return Backbone(
        name=SIGN.join(names),
        weights=SIGN.join(member.weights for member in members),
        module=module.eval(),
        dim=sum(member.dim for member in members),
        preprocessing=shared,
        fingerprint=digest(["side by side", *fingerprints]),
        card=SIGN.join(member.card for member in members if member.card),
        graph=trace(module) if one_geometry else None,
        notices=tuple(notice for member in members for notice in member.notices),
        members=tuple(members),
    )


def check_one_geometry(backbone: Backbone) -> None:
    """Raise `ModelError` where members see images of different geometry, which cannot be tuned together."""
    if len(found := {member.preprocessing.geometry for member in backbone.members}) > 1:
        raise ModelError(
            f"{backbone.name}: its members see images of different geometry ({', '.join(sorted(found))}), so there is "
            "no image on which all could be tuned; --preset cdfsl or paper gives all of them one"
        )


def with_contract(backbone: Backbone, change: Callable[[Preprocessing], Preprocessing]) -> Backbone:
    """The same network, or each of its members, for images prepared as `change` says of how they were prepared."""
    if backbone.members:
        return concatenate([with_contract(member, change) for member in backbone.members])
    return with_preprocessing(backbone, change(backbone.preprocessing))
