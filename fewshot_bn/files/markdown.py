"""Tables of markdown, in which the documentation holds what is generated."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the header."""
    header, *body = [tuple(map(_cell, row)) for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ("---",) * len(header), *body])


def _cell(text: str) -> str:
    """Text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|")
