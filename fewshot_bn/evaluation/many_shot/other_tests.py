"""Images of another dataset that the classifiers of a split are tested on, too: of the same classes by name.

Shapes: rows [n], labels [n].
"""

from dataclasses import dataclass

from jaxtyping import Int64
from numpy import ndarray

from fewshot_bn.inputs.source import Source


@dataclass(frozen=True, slots=True)
class OtherTest:
    """Rows of a source, whose images are prepared as the training images are, and their classes in training numbers."""

    name: str
    source: Source
    rows: Int64[ndarray, "n"]
    labels: Int64[ndarray, "n"]

    @property
    def groups(self) -> list[str] | None:
        """What each image is of, where the files say so."""
        return groups_of(self.source, self.rows)


def groups_of(source: Source, rows: Int64[ndarray, "n"]) -> list[str] | None:
    """What each of these images is of, such as a patient; None where the files do not say so."""
    groups = source.images.dataset.groups
    return None if groups is None else [groups[row] for row in rows]
