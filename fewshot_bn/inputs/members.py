"""Features of networks side by side: those of each member, which are kept and used again as its own."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.inputs.features import Features
from fewshot_bn.inputs.images import Images


class MemberFeatures:
    """`Features` of a backbone that has members, made of theirs in the same order."""

    def __init__(self, images: Images, backbone: Backbone, members: Sequence[Features]) -> None:
        self.images, self.backbone, self._members = images, backbone, members
        self.notices: list[str] = []

    @property
    def decoded_from(self) -> list[Images]:
        """The images that features are computed of."""
        return [images for member in self._members for images in member.decoded_from]

    @property
    def unchecked(self) -> bool:
        """Whether some member has looked at too few images."""
        return any(member.unchecked for member in self._members)

    def findings(self) -> Iterator[str]:
        """What the input checks of members have found, once."""
        for member in self._members:
            yield from member.findings()

    def missing(self, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "m"]:
        """Those of `rows` that some member has no features of."""
        return np.unique(np.concatenate([member.missing(rows) for member in self._members]))

    def compute(self, rows: Int64[ndarray, "n"]) -> Iterator[int]:
        """Make the features of `rows` known; yields the number of images done, as a share of the work of all.

        One member after the other, so that each one's input check sees some of all rows.
        """
        n_rows, work, done = len(self.missing(rows)), sum(len(member.missing(rows)) for member in self._members), 0
        for member in self._members:
            for n_images in member.compute(rows):
                before, done = done, done + n_images
                yield done * n_rows // work - before * n_rows // work
            self.notices += member.notices
            member.notices.clear()

    def gather(self, rows: Int64[ndarray, "*shape"]) -> Float[Tensor, "*shape d"]:
        """Features of rows, on the device. Raises `DataError` where some have not been computed."""
        return torch.cat([member.gather(rows) for member in self._members], -1)

    def release(self) -> None:
        """Hold no features in memory that lie in the cache."""
        for member in self._members:
            member.release()
