"""Features and labels of images, as a classifier is fitted to them and judged by them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.datasets import Dataset


@dataclass(frozen=True, slots=True)
class Samples:
    """Features and labels of some images."""

    z: Float[Tensor, "n d"]
    y: Int64[Tensor, "n"]
    n_way: int

    def __add__(self, other: "Samples") -> "Samples":
        return Samples(torch.cat([self.z, other.z]), torch.cat([self.y, other.y]), self.n_way)


def samples_of(dataset: Dataset, rows: Int64[ndarray, "n"], z: Float[Tensor, "n d"]) -> Samples:
    """These rows of a dataset, whose features are `z`."""
    return Samples(z, torch.from_numpy(dataset.labels[rows]).to(z.device), len(dataset.class_names))


@dataclass(frozen=True, slots=True)
class View:
    """The features of the training, validation and test images, as one view of them gives.

    `others` are those of images of other datasets that are classified, too.
    """

    train: Samples
    val: Samples
    test: Samples
    others: tuple[Float[Tensor, "_ d"], ...] = ()

    @property
    def is_finite(self) -> bool:
        """Whether all features are numbers."""
        features = (self.train.z, self.val.z, self.test.z, *self.others)
        return all(bool(z.isfinite().all()) for z in features)
