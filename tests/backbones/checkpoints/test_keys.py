"""How keys of checkpoints become those of a network."""

import pytest
import torch

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import in_order, tensors_of
from fewshot_bn.errors import ModelError


def test_entries_within_entries_are_joined():
    content = {"params": {"net/conv_1": {"w": torch.ones(3, 3, 2, 4)}, "net/linear": {"w": torch.ones(5, 7)}}}
    rules = KeyRules(
        nested=True,
        rename={"params.net/*_1": "layer1.*1", "params.net/linear": "fc"},
        endings={".w": ".weight"},
        kernels="HWIO",
    )
    shapes = {key: tuple(value.shape) for key, value in tensors_of(content, rules, "here").items()}
    assert shapes == {"layer1.conv1.weight": (4, 2, 3, 3), "fc.weight": (7, 5)}


def test_what_norm_layers_of_jax_have_loses_its_axes_and_kernels_of_one_channel_keep_theirs():
    content = {"scale": torch.arange(5.0).reshape(1, 1, 1, 5), "w": torch.zeros(3, 3, 1, 5), "b": torch.zeros(5)}
    found = tensors_of(content, KeyRules(kernels="HWIO"), "here")
    assert found["scale"].tolist() == [0, 1, 2, 3, 4]
    assert (found["w"].shape, found["b"].shape) == ((5, 1, 3, 3), (5,))


def test_a_turned_kernel_holds_what_it_held():
    kernel = torch.rand(3, 5, 2, 4)
    found = tensors_of({"w": kernel}, KeyRules(kernels="HWIO"), "here")["w"]
    assert all(
        found[o, i, h, w] == kernel[h, w, i, o] for o in range(4) for i in range(2) for h in range(3) for w in range(5)
    )


@pytest.mark.parametrize(
    ("rename", "key", "name"),
    [
        ({"net.*.blocks.*.net.0.": "layer*.*.conv1."}, "net.3.blocks.0.net.0.weight", "layer3.0.conv1.weight"),
        ({"group_0/~/block_*/~/conv_0": "layer1.*.conv1"}, "group_0/~/block_12/~/conv_0.w", "layer1.12.conv1.w"),
        ({"a*.": "b*."}, "a.x", "a.x"),  # a star stands for something
    ],
)
def test_stars_stand_for_parts_of_names(rename, key, name):
    assert list(tensors_of({key: torch.zeros(1)}, KeyRules(rename=rename), "here")) == [name]


def test_the_longest_ending_counts():
    rules = KeyRules(endings={".average": ".x", "/mean_ema.average": ".running_mean"})
    assert list(tensors_of({"bn/mean_ema.average": torch.zeros(1)}, rules, "here")) == ["bn.running_mean"]


def test_by_order_names_do_not_count():
    own = {"conv.weight": torch.zeros(4, 3), "bn.n": torch.tensor(0), "bn.weight": torch.zeros(4)}
    rules = KeyRules(in_order=True, may_lack=("*.n",))
    tensors = {"a": torch.ones(4, 3), "b": torch.ones(4)}
    assert {k: v.shape for k, v in in_order(tensors, own, rules, "here").items()} == {
        "conv.weight": (4, 3),
        "bn.weight": (4,),
    }
    with pytest.raises(ModelError, match=r"here: in order, a \(4,\) would be conv.weight, which is \(4, 3\); drop"):
        in_order({"a": torch.ones(4), "b": torch.ones(4, 3)}, own, rules, "here")
    with pytest.raises(ModelError, match="here: holds 1 tensors, the network has 2; drop what is more"):
        in_order({"a": torch.ones(4, 3)}, own, rules, "here")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"in_order": True, "rename": {"a": "b"}}, "in_order: names do not count then"),
        ({"endings": {"": "x"}}, "endings: '' is no end of a key"),
    ],
)
def test_rules_that_cannot_be_meant(rules, message):
    with pytest.raises(ModelError, match=message):
        KeyRules(**rules)
