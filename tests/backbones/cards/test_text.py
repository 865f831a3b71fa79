"""What is written as a card is read as the same card."""

from dataclasses import replace

import pytest
from reference.places import CARDS

from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.cards.text import in_lines, text_of
from fewshot_bn.preprocessing import Preprocessing

PATHS = [*shipped_models().values(), *sorted(CARDS.glob("*.toml"))]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_card_is_read_back(path, tmp_path):
    card = read_model_card(path)
    (tmp_path / "x.toml").write_text(text_of(card), encoding="utf-8")
    assert read_model_card(tmp_path / "x.toml") == card


STRANGE = ModelCard(
    'a "b" \\ ü \x7f \t',
    "line 1\nline 2",
    "net",
    Preprocessing(40, 32, mean=(1e-7, 0.5, 1 / 3), std=(1e10, 1.0, 2.0)),
    weights="a/b c.pth",
    arguments={"depth": 8, "deep": True, "width": 1e-5, "stages": [1, [2, 3]], "kind": {"a.b": "c"}},
    norm_eps=1e-3,
    keys=KeyRules(rename={str(n): "x." for n in range(9)}, endings={".w": ".weight"}, drop=('"', "'*")),
    forms={"a b": KeyRules(in_order=True, kernels="HWIO"), "c": KeyRules(rename={f"{n}.": "" for n in range(9)})},
)


@pytest.mark.parametrize("changes", [{}, {"forms": {}, "keys": KeyRules()}, {"keys": KeyRules(nested=True)}])
def test_whatever_a_card_holds(changes, tmp_path):
    card = replace(STRANGE, **changes)
    (tmp_path / "x.toml").write_text(text_of(card, {"name": "one\ntwo", "keys": "rules"}), encoding="utf-8")
    found = read_model_card(tmp_path / "x.toml")
    assert replace(found, arguments={}) == replace(card, arguments={})
    assert found.arguments == card.arguments
    assert (tmp_path / "x.toml").read_text(encoding="utf-8").startswith('# one\n# two\nname = "a')


def test_rules_in_lines():
    assert in_lines(KeyRules(unwrap="a.b", drop=("c.*",), rename={"0.": "conv1."})) == [
        'unwrap = "a.b"',
        'drop = ["c.*"]',
        'rename = { "0." = "conv1." }',
    ]
