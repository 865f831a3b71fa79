"""From results to what a person looks at: tables and pictures."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in columns that are as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
