"""Weights: of torch.save, old and new, numpy.savez, networks and other pickles, safetensors and TorchScript."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from fuzz.mutations import damaged
from fuzz.trial import survive, tiers
from safetensors.torch import save
from torch import nn

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import load_strictly, read_checkpoint
from fewshot_bn.backbones.recognition.suggestion import suggestion


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(value.shape, generator=generator).to(value.dtype)
        for key, value in network().state_dict().items()
    }


def saved(content, **how):
    memory = io.BytesIO()
    torch.save(content, memory, **how)
    return memory.getvalue()


def whole_network(content):
    made = network()
    made.load_state_dict(content)
    return made


def script():
    memory = io.BytesIO()
    torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 3, 8, 8)), memory)
    return memory.getvalue()


def arrays(content):
    memory = io.BytesIO()
    np.savez(memory, **{key: value.numpy() for key, value in content.items()})
    return memory.getvalue()


def odd_tensor(rng):
    """What fits no plain weight."""
    x = torch.ones(4, 3, 3, 3)
    kinds = [
        lambda: x.expand(10**9, 4, 3, 3, 3),
        x.to_sparse,
        lambda: torch.quantize_per_tensor(x, 1.0, 0, torch.qint8),
        lambda: torch.empty(10**6, 10**6, device="meta"),
        lambda: x.to(torch.complex64),
        lambda: x.to(torch.float8_e5m2),
        lambda: x * torch.nan,
        lambda: x.transpose(0, 3),
        lambda: x[:0],
        lambda: torch.zeros(()),
        lambda: nn.Parameter(x),
        lambda: "a text",
        lambda: {"x": {"y": [x]}},
        lambda: -x,
    ]
    return kinds[rng.integers(len(kinds))]()


def repacked(rng, content):
    """A zip archive in which one part is damaged, and the checksums of the archive are right."""
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(memory, "w") as new:
        chosen = rng.integers(len(old.namelist()))
        for place, name in enumerate(old.namelist()):
            part = old.read(name)
            new.writestr(name, damaged(rng, part) if place == chosen else part)
    return memory.getvalue()


SEEDS = {
    "pth": saved,
    "legacy.pth": lambda content: saved(content, _use_new_zipfile_serialization=False),
    "safetensors": lambda content: save({k: v.contiguous() for k, v in content.items() if torch.is_tensor(v)}),
    "npz": arrays,
    "jit.pt": lambda content: script(),
    "whole.pth": lambda content: saved(whole_network(content)),
    "whole.legacy.pth": lambda content: saved(whole_network(content), _use_new_zipfile_serialization=False),
    "pkl": lambda content: pickle.dumps({k: v.numpy() for k, v in content.items()}, 2),
    "4.pkl": lambda content: pickle.dumps(content, 4),
}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # of making the files
@pytest.mark.parametrize("kind", SEEDS)
@tiers(20, 1200)
def test_checkpoints(tmp_path, kind, numbers):
    path = tmp_path / f"w.{kind}"
    right = state()
    whole = SEEDS[kind](right)

    def content(rng):
        how = rng.random()
        if how < 0.3 and kind in ("pth", "legacy.pth"):
            name = list(right)[rng.integers(len(right))]
            return SEEDS[kind]({**right, name: odd_tensor(rng)})
        if how < 0.5 and zipfile.is_zipfile(io.BytesIO(whole)):
            return repacked(rng, whole)
        if how < 0.7 and kind == "safetensors":
            header = 8 + int.from_bytes(whole[:8], "little")
            return damaged(rng, whole[:header]) + whole[header:]
        return damaged(rng, whole)

    def trial(rng):
        path.write_bytes(content(rng))
        found, own = read_checkpoint(path), network()
        suggestion(found, own, KeyRules().may_lack)
        load_strictly(own, tensors_of(found, KeyRules(), str(path)), KeyRules().may_lack, str(path))
        assert all(value.isfinite().all() for value in own.state_dict().values())

    survive(trial, numbers)
