"""Fields that say what they are for, and which of them tell results apart."""

from dataclasses import dataclass

from fewshot_bn.settings import setting, told


@dataclass(frozen=True)
class Settings:
    first: int = setting(1, "there from the beginning")
    second: str = setting("a", "added later", later=True)
    plain: float = 0.5


def test_a_field_that_was_added_later_is_told_unless_it_has_its_default():
    assert told(Settings()) == {"first": 1, "plain": 0.5}
    assert told(Settings(first=1, second="a", plain=0.5)) == told(Settings())
    assert told(Settings(second="b")) == {"first": 1, "second": "b", "plain": 0.5}
