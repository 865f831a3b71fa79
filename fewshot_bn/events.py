"""What happens in a long piece of work, as values: whoever asked for the work draws, prints or ignores them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of, such as "a subset: 1,000 of 27,000 images"."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of the piece of work `title` are done (a total of None: not known)."""

    title: str
    unit: str
    done: int
    total: int | None
