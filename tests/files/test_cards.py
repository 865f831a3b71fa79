"""Cards from anywhere: what they claim is bounded before anything is done with it."""

import os
from dataclasses import dataclass

import pytest

from fewshot_bn.errors import DataError
from fewshot_bn.files.cards import read_card


@dataclass(frozen=True)
class Card:
    name: str
    n: int = 0


def test_a_card_is_read_with_its_defaults_and_any_line_ends(tmp_path):
    (tmp_path / "card.toml").write_bytes(b'name = "a"\r\n# \r\n')
    assert read_card(tmp_path / "card.toml", Card, DataError) == Card("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "this card is not valid TOML"),
        (b"\xff", "this card is not valid TOML"),
        (b"n = " + b"9" * 5_000, "this card is not valid TOML: Exceeds the limit"),
        (b"n = " + b"[" * 2_000 + b"]" * 2_000, "this card is not valid: its arrays or tables are too deep"),
        (b"#" * (2**20 + 1), "this card cannot be read: it has 1,048,577 bytes, at most 1,048,576 are read"),
        (b'name = "a"\nnn = 1', "unknown field 'nn' .did you mean 'n'"),
        (b"n = 1", "the field 'name' is missing"),
        (b'name = "a"\nn = "1"', "n: '1' is not of type int"),
    ],
)
def test_what_is_no_card_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as problem:
        read_card(path, Card, DataError)
    assert len(str(problem.value)) < 2_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in this file system")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "card.toml")
    with pytest.raises(DataError, match="this card cannot be read: it is a pipe or a device, a file is needed"):
        read_card(tmp_path / "card.toml", Card, DataError)
