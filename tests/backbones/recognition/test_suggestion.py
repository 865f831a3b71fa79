"""What a message advises makes the weights fit, as lines of a card."""

import re
import tomllib

import pytest
import torch
from torch import nn

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import load_strictly
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.backbones.recognition.suggestion import suggestion
from fewshot_bn.errors import ModelError

MAY_LACK = KeyRules().may_lack


def with_prefix(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def in_sequence(state):
    """As `nn.Sequential(*network.children())` has them, which knows no names."""
    names = [name for name, _ in CifarResNet(depth=8, width=4).named_children()]
    return {f"{names.index(key.partition('.')[0])}.{key.partition('.')[2]}": value for key, value in state.items()}


LAYOUTS = {
    "state_dict and module.": lambda s: {"epoch": 3, "state_dict": with_prefix(s, "module.")},
    "state_dict": lambda s: {"epoch": 3, "state_dict": s},
    "compiled": lambda s: with_prefix(s, "_orig_mod."),
    "backbone. and a head": lambda s: {**with_prefix(s, "backbone."), "head.fc.weight": torch.zeros(3, 4)},
    "moco": lambda s: {
        "state_dict": {
            **with_prefix(s, "module.encoder_q."),
            "module.encoder_q.fc.0.weight": torch.zeros(3),
            **with_prefix(s, "module.encoder_k."),
            "module.queue": torch.zeros(4, 5),
        }
    },
    "deep": lambda s: {"a": {"b": {"teacher": with_prefix(s, "net.")}}},
    "children of a Sequential": lambda s: {"state_dict": with_prefix(in_sequence(s), "backbone.")},
    "children of a Sequential and a head": lambda s: {**in_sequence(s), "9.weight": torch.zeros(3, 4)},
    "plain with a head": lambda s: {**s, "fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_lines_make_the_weights_fit(layout):
    network, other = CifarResNet(depth=8, width=4), CifarResNet(depth=8, width=4)
    content = LAYOUTS[layout](network.state_dict())
    advice = suggestion(content, other, MAY_LACK)
    assert advice.startswith("[keys] ")
    lines = re.sub(r", (?=prefix|drop|rename)", "\n", advice.removeprefix("[keys] ").partition(" (or ")[0])
    rules = KeyRules(**{k: tuple(v) if isinstance(v, list) else v for k, v in tomllib.loads(lines).items()})
    load_strictly(other, tensors_of(content, rules, layout), rules.may_lack, layout)
    assert torch.equal(other.conv1.weight, network.conv1.weight)


def test_other_entries_that_fit_as_well_are_named():
    state = CifarResNet(depth=8, width=4).state_dict()
    content = {"student": with_prefix(state, "module."), "teacher": state, "queue": {"w": torch.zeros(3)}}
    advice = suggestion(content, CifarResNet(depth=8, width=4), MAY_LACK)
    assert advice == ('[keys] unwrap = "student", prefix = "module." (or the entry \'teacher\', which fits as well)')


def test_other_prefixes_that_fit_as_well_are_named():
    content = LAYOUTS["moco"](CifarResNet(depth=8, width=4).state_dict())
    advice = suggestion(content, CifarResNet(depth=8, width=4), MAY_LACK)
    assert advice.endswith(" (or the prefix 'module.encoder_k.', which fits as well)")


@pytest.mark.parametrize("spoilt", [lambda w: w * float("nan"), lambda w: w.to(torch.int8), lambda w: w.to_sparse()])
def test_weights_that_no_line_would_make_fit_get_no_advice(spoilt):
    state = CifarResNet(depth=8, width=4).state_dict()
    content = with_prefix({**state, "conv1.weight": spoilt(state["conv1.weight"])}, "net.")
    assert suggestion(content, CifarResNet(depth=8, width=4), MAY_LACK) == ""


@pytest.mark.parametrize(
    "content",
    [{}, {"epoch": 3}, nn.Linear(3, 4).state_dict(), CifarResNet(depth=8, width=8).state_dict()],
    ids=["nothing", "no tensors", "another network", "another width"],
)
def test_what_cannot_fit_gets_no_advice(content):
    assert suggestion(content, CifarResNet(depth=8, width=4), MAY_LACK) == ""


def test_the_message_of_a_model_says_so(tmp_path):
    state = load_backbone("resnet18", weights="random").module.state_dict()
    torch.save({"state_dict": with_prefix(state, "module.")}, tmp_path / "ddp.pth.tar")
    with pytest.raises(ModelError, match=r'\[keys\] unwrap = "state_dict", prefix = "module\." would make them fit'):
        load_backbone("resnet18", weights=str(tmp_path / "ddp.pth.tar"))
